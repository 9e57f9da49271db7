"""Density by structure: signs on the surface that content stands here.

Numbers, names and place count for what extracts are made of since Luhn (1958) and Edmundson, "New Methods in
Automatic Extracting" (1969).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from openkimi_entropy.chunking import Passage
from openkimi_entropy.lines import Check
from openkimi_entropy.scripts import count_cjk

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*|[零〇一二三四五六七八九十百千万亿两]{2,}|[百千万亿]")
_NAME = re.compile(
    r"(?<=[^\s.!?:][ ])[A-Z][\w'’-]*"  # a capital that starts no sentence
    r"|(?<=[\u3041-\u9fff])[A-Za-z][\w.+-]+"  # a foreign word in CJK text
    r"|《[^》]{1,40}》|「[^」]{1,40}」|“[^”]{1,40}”"
)
_MARK = re.compile(r"[^\w\s]")
_MANY_NUMBERS, _MANY_NAMES, _MANY_MARKS = 3.0, 4.0, 8
_PER = 150
"""Numbers and names are counted per so much weight, some 25 words."""


def structural_density(text: str, passages: Sequence[Passage], check: Check) -> list[float]:
    """Score passages: numbers and names 0.4 each, kinds of punctuation 0.1, the opening of a section 0.1."""
    scores = []
    for passage in passages:
        check()
        scores.append(
            _density(text[passage.start : passage.end], opens=bool(passage.opens and passage.headings))
        )
    return scores


def _density(text: str, *, opens: bool) -> float:
    stretches = max(1.0, (len(text) + 2 * count_cjk(text)) / _PER)
    numbers = sum(1 for _ in _NUMBER.finditer(text)) / stretches
    names = sum(1 for _ in _NAME.finditer(text)) / stretches
    marks = len({mark[0] for mark in _MARK.finditer(text)})
    return (
        0.4 * min(1.0, numbers / _MANY_NUMBERS)
        + 0.4 * min(1.0, names / _MANY_NAMES)
        + 0.1 * min(1.0, marks / _MANY_MARKS)
        + 0.1 * opens
    )
