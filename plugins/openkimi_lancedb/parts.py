"""Cuts a passage into the texts whose vectors stand for it: the whole, and its sentences.

A vector of a whole passage blurs what one of its sentences says. Headings stay out: they make the vectors
of all passages of a chapter alike, and the words of a heading are searched for on the lexical side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from openkimi import Vectors

PARTS = "parts-1"
"""Changes whenever the same passage would be cut into other parts."""

MOST = 17
"""The most parts that a passage has."""

_SENTENCE = re.compile(r"[^.!?。！？；\n]+(?:[.!?。！？；]+[\"'”’」』)）]*|\n|$)\s*|[.!?。！？；\s]+")
_WIDE = re.compile("[\u2e80-\U0003ffff]")
_LEAST_WIDTH = 60


def parts_of(text: str) -> list[str]:
    """Return the text and, where there are several, its sentences; short ones go with those after them.

    A sentence has a width of at least 60 Latin letters, of which a CJK character counts as three.
    """
    least = max(_LEAST_WIDTH, _width(text) / (MOST - 2))
    sentences, held, width = list[str](), "", 0
    for piece in _SENTENCE.findall(text):
        held, width = held + piece, width + _width(piece)
        if width >= least:
            sentences.append(held.strip())
            held, width = "", 0
    if rest := held.strip():
        sentences.append(rest)
    return [text, *sentences] if len(sentences) > 1 else [text]


def likeness(cosines: Sequence[float]) -> float:
    """Make one similarity of those of a passage's parts, the whole first: the mean of it and the best."""
    return (cosines[0] + max(cosines[1:])) / 2 if len(cosines) > 1 else cosines[0]


def split_rows(vectors: Vectors, counts: Sequence[int]) -> list[Vectors]:
    """Share out rows, so many to each."""
    return np.split(vectors, np.cumsum(counts)[:-1]) if counts else []


def _width(text: str) -> int:
    return len(text) + 2 * len(_WIDE.findall(text))
