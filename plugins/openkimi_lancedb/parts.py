"""Cuts a passage into the texts whose vectors stand for it: the whole, and its sentences.

A vector of a whole passage blurs what one of its sentences says. Headings stay out: they make the vectors
of all passages of a chapter alike, and the words of a heading are searched for on the lexical side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from openkimi import Vectors

PARTS = "parts-2"
"""Changes whenever the same passage would be cut into other parts."""

MOST = 17
"""The most parts that a passage has."""

_SENTENCE = re.compile(r"[^.!?。！？；\n]+(?:[.!?。！？；]+[\"'”’」』)）]*|\n|$)\s*|[.!?。！？；\s]+")
_WIDE = re.compile("[\u2e80-\U0003ffff]")
_LEAST_WIDTH = 60
_FULL_LINE = 45
_ENDS_LINE = frozenset('.!?。！？；;:：…"”』」|')
_BEGINS_ITEM = re.compile(r"\s*(?:[-*•·#>|]|\d+[.)、])")


def parts_of(text: str) -> list[str]:
    """Return the text and, where there are several, its sentences; short ones go with those after them."""
    flowing, spans = unwrapped(text), spans_of(text)
    if len(spans) == 1:
        return [flowing]
    return [flowing, *(flowing[start:end].strip() for start, end in spans)]


def spans_of(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text stand, in characters; one follows the other without a gap.

    A sentence has a width of at least 60 Latin letters, of which a CJK character counts as three.
    """
    least = max(_LEAST_WIDTH, _width(text) / (MOST - 2))
    spans, start, end, width = list[tuple[int, int]](), 0, 0, 0
    for piece in _SENTENCE.finditer(unwrapped(text)):
        end, width = piece.end(), width + _width(piece.group())
        if width >= least:
            spans.append((start, end))
            start, width = end, 0
    if text[start:].strip() or not spans:
        spans.append((start, len(text)))
    else:
        spans[-1] = (spans[-1][0], len(text))
    return spans


def unwrapped(text: str) -> str:
    """Make one line of those that only a narrow page has broken; every character keeps its place."""
    lines = text.split("\n")
    joints = ("\n" if _breaks(line, below) else " " for line, below in pairwise(lines))
    return lines[0] + "".join(joint + below for joint, below in zip(joints, lines[1:], strict=True))


def _breaks(line: str, below: str) -> bool:
    """Tell whether a line ends on purpose: it is short, ends a sentence, or an item of a list follows."""
    ends = line.rstrip()[-1:] in _ENDS_LINE or not below.strip() or _BEGINS_ITEM.match(below) is not None
    return _width(line) < _FULL_LINE or (ends and not below[:1].islower())


def likeness(cosines: Sequence[float]) -> float:
    """Make one similarity of those of a passage's parts, the whole first: the mean of it and the best."""
    return (cosines[0] + max(cosines[1:])) / 2 if len(cosines) > 1 else cosines[0]


def split_rows(vectors: Vectors, counts: Sequence[int]) -> list[Vectors]:
    """Share out rows, so many to each."""
    return np.split(vectors, np.cumsum(counts)[:-1]) if counts else []


def _width(text: str) -> int:
    return len(text) + 2 * len(_WIDE.findall(text))
