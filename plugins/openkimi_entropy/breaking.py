"""Breaks a text into what a passage should not cut, and cuts that where it has to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

from openkimi_entropy.lines import VISIBLE, Check, search
from openkimi_entropy.measure import Measure
from openkimi_entropy.placing import Placed, place_lines
from openkimi_entropy.sentences import is_closed, sentence_ends

_LONGEST = 4_096
_CLAUSE_END = re.compile(r"[,;:)\]](?=\s)|[，、；：）」』】》〉—]")
_SPACE = re.compile(r"\s")
_JOINER = "\u200d"
_MODIFIERS = frozenset("\u200d\ufe0e\ufe0f") | {chr(code) for code in range(0x1F3FB, 0x1F400)}
_LONGEST_CLUSTER = 16


class Break(IntEnum):
    """How good a place for a cut is, the stronger the better."""

    GLUE = 0
    LINE = 1
    SENTENCE = 2
    PARAGRAPH = 3
    BLANK = 4


class Atom(NamedTuple):
    """A sentence, or a line without one; ``before`` is the break that it starts with."""

    start: int
    end: int
    before: Break
    path: tuple[str, ...]
    opens: bool


def read_atoms(text: str, check: Check) -> Iterator[Atom]:
    """Yield the atoms of a text in order; they miss nothing but white space."""
    above: Placed | None = None
    for placed in place_lines(text, check):
        before = _break_between(text, above, placed)
        if placed.is_heading:
            yield Atom(placed.line.start, placed.line.end, before, placed.path, placed.opens)
        else:
            yield from _sentences(text, placed, before, check)
        above = placed


def break_sentence(text: str, start: int, end: int, measure: Measure) -> int:
    """Find where to cut what weighs more than the bound: after a clause, at a space, anywhere at worst."""
    stop = max(measure.reach(text, start, end, measure.bound), start + 1)
    middle = start + (stop - start) // 2
    for pattern in (_CLAUSE_END, _SPACE):
        ends = [found.end() for found in pattern.finditer(text, middle, stop)]
        if ends:
            return ends[-1]
    return _between_characters(text, middle, stop)


def next_visible(text: str, start: int, end: int, check: Check) -> int:
    """Find the first character that is no white space, ``end`` if there is none."""
    if start < end and not text[start].isspace():
        return start
    found = search(VISIBLE, text, start, end, check)
    return found.start() if found else end


def _break_between(text: str, above: Placed | None, placed: Placed) -> Break:
    if above is not None and above.is_heading:
        return Break.GLUE
    if above is None or placed.line.after_blank:
        return Break.BLANK
    return Break.PARAGRAPH if is_closed(text, above.line.start, above.line.end) else Break.LINE


def _sentences(text: str, placed: Placed, before: Break, check: Check) -> Iterator[Atom]:
    start, line_end = placed.line.start, placed.line.end
    for end in chain(sentence_ends(text, start, line_end, check), (line_end,)):
        while end - start > _LONGEST:
            yield Atom(start, start + _LONGEST, before, placed.path, opens=False)
            start, before = next_visible(text, start + _LONGEST, end, check), Break.GLUE
        yield Atom(start, end, before, placed.path, opens=False)
        start, before = next_visible(text, end, line_end, check), Break.SENTENCE


def _between_characters(text: str, floor: int, at: int) -> int:
    """Step back from the middle of what is seen as one character."""
    for place in range(at, max(floor, at - _LONGEST_CLUSTER), -1):
        if place >= len(text) or not _is_joined(text, place):
            return place
    return at


def _is_joined(text: str, at: int) -> bool:
    following = text[at]
    return following in _MODIFIERS or text[at - 1] == _JOINER or unicodedata.combining(following) > 0
