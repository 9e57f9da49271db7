"""Cuts a text into passages at headings, paragraphs and sentences.

Where several places would do, the strongest break wins, and among equals the one whose surroundings hash
highest: the choice then depends on the text near by and not on where the passage before it ended, so an edit
changes only the passages around it (content-defined chunking; Muthitacharoen, Chen, Mazières 2001).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from openkimi_entropy.breaking import Atom, Break, break_sentence, next_visible, read_atoms
from openkimi_entropy.lines import Check
from openkimi_entropy.measure import Measure

CHUNKER = "entropy-1"
"""Changes whenever the same options would cut a text otherwise."""

_LEAST = 0.6
"""A passage is filled to this part of the bound before breaks are compared."""
_AROUND = 24


class Passage(NamedTuple):
    """A stretch of a text, offsets in characters, under a path of headings; ``opens`` a section or not."""

    start: int
    end: int
    headings: tuple[str, ...]
    opens: bool


def cut(text: str, measure: Measure, check: Check) -> Iterator[Passage]:
    """Yield the passages of a text in order; they miss nothing but white space.

    None weighs more than ``measure.bound``. Each but the first of a section starts with as many of the words
    before it as ``measure.overlap`` holds.
    """
    floor = 0
    for passage in _pack(text, measure, check):
        if passage.opens:
            floor = passage.start
        start = _reach_back(text, measure, floor, passage.start) if measure.overlap else passage.start
        yield passage._replace(start=start)


def _pack(text: str, measure: Measure, check: Check) -> Iterator[Passage]:
    pending = _Pending(text, measure.room)
    for atom in read_atoms(text, check):
        if atom.opens and pending.atoms:
            yield pending.take(len(pending.atoms))
        pending.push(atom)
        while pending.is_over:
            check()
            yield pending.take_best(check)
    if pending.atoms:
        yield pending.take(len(pending.atoms))


class _Pending:
    """The atoms of the passage that is being filled, with the weight up to the end of each."""

    def __init__(self, text: str, measure: Measure) -> None:
        self._text = text
        self._measure = measure
        self.atoms: list[Atom] = []
        self._weights: list[float] = []

    @property
    def is_over(self) -> bool:
        """Whether the atoms weigh more than a passage may."""
        return bool(self._weights) and self._weights[-1] > self._measure.bound

    def push(self, atom: Atom) -> None:
        """Add the atom that follows."""
        weight = self._measure.weigh(self._text[atom.start : atom.end])
        if self.atoms:
            weight += self._weights[-1] + atom.start - self.atoms[-1].end
        self.atoms.append(atom)
        self._weights.append(weight)

    def take(self, count: int) -> Passage:
        """Make a passage of the first atoms and go on with the others."""
        first, last = self.atoms[0], self.atoms[count - 1]
        gone = self._weights[count - 1]
        if count < len(self.atoms):
            gone += self.atoms[count].start - last.end
        self.atoms = self.atoms[count:]
        self._weights = [weight - gone for weight in self._weights[count:]]
        return Passage(first.start, last.end, last.path, first.opens)

    def take_best(self, check: Check) -> Passage:
        """Make a passage up to the best break that the bound allows."""
        breaks = [at for at in range(1, len(self.atoms)) if self.atoms[at].before >= Break.LINE]
        if not breaks:
            return self._take_part(check)
        least = _LEAST * self._measure.bound
        filled = [at for at in breaks if self._weights[at - 1] >= least]
        return self.take(max(filled, key=self._preference) if filled else breaks[-1])

    def _preference(self, at: int) -> tuple[int, int]:
        start = self.atoms[at].start
        around = self._text[max(0, start - _AROUND) : start + _AROUND]
        return self.atoms[at].before, zlib.crc32(around.encode("utf-8", "replace"))

    def _take_part(self, check: Check) -> Passage:
        """Make a passage of the beginning of what should not be cut but is too large."""
        first, last = self.atoms[0], self.atoms[-1]
        at = break_sentence(self._text, first.start, last.end, self._measure)
        end = first.start + len(self._text[first.start : at].rstrip())
        self.atoms, self._weights = [], []
        rest = next_visible(self._text, at, last.end, check)
        if rest < last.end:
            self.push(Atom(rest, last.end, Break.GLUE, last.path, opens=False))
        return Passage(first.start, end, last.path, first.opens)


def _reach_back(text: str, measure: Measure, floor: int, start: int) -> int:
    """Find where the words begin that fit the overlap before ``start``."""
    at = measure.back(text, floor, start)
    while floor < at < start and text[at - 1].isalnum() and text[at].isalnum() and text[at].isascii():
        at += 1
    while at < start and text[at].isspace():
        at += 1
    return at
