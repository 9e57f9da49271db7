"""Covers a whole document with few passages: spread evenly, the most telling of each stretch."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from openkimi.documents import Chunk
from openkimi.spans import sentences_of

_OPENING_BONUS = 0.5
_DENSE_ENOUGH = 0.6
"""Tables and listings are denser than that, and say less."""
_PROSE_WEIGHT = 4
_NO_PROSE = re.compile(r"[^\w ]+|[\d_]+")
_SHINGLE = 12
_ALIKE = 0.5


def cover(chunks: Sequence[Chunk], *rounds: int) -> list[Chunk]:
    """Choose a chunk of each of so many equal stretches of a document, as far as they are not alike.

    The order is such that the first few, however many, are spread over the whole. Further rounds choose of
    finer stretches what was not chosen before.
    """
    openings = _openings(chunks)
    worth = {chunk.ordinal: _worth(chunk, opens=chunk.ordinal in openings) for chunk in chunks}
    chosen: list[Chunk] = []
    known: list[set[str]] = []
    for stretch in (stretch for places in rounds for stretch in _spread(_stretches(chunks, places))):
        for chunk in sorted(stretch, key=lambda chunk: -worth[chunk.ordinal]):
            shingles = _shingles(chunk.text)
            if all(len(shingles & other) <= _ALIKE * min(len(shingles), len(other)) for other in known):
                chosen.append(chunk)
                known.append(shingles)
                break
    return chosen


def excerpt(chunk: Chunk, most: int) -> Chunk:
    """Cut a chunk after the sentence with which it is nearest to ``most`` characters."""
    if len(chunk.text) <= most:
        return chunk
    ends = [end for _, end in sentences_of(chunk.text)] or [len(chunk.text)]
    end = min(ends[chunk.begins_with_heading :] or ends, key=lambda end: abs(end - most))
    return part_of(chunk, 0, end if end <= 2 * most else most)


def part_of(chunk: Chunk, start: int, end: int) -> Chunk:
    """Return a part of a chunk, by characters of its text."""
    return msgspec.structs.replace(
        chunk, text=chunk.text[start:end], start=chunk.start + start, end=chunk.start + end
    )


def _stretches(chunks: Sequence[Chunk], places: int) -> list[list[Chunk]]:
    """Part a document's chunks into stretches of equal length, none of them empty."""
    length = max((chunk.end for chunk in chunks), default=0) + 1
    stretches: dict[int, list[Chunk]] = {}
    for chunk in chunks:
        stretches.setdefault((chunk.start + chunk.end) // 2 * max(1, places) // length, []).append(chunk)
    return [stretches[at] for at in sorted(stretches)]


def _openings(chunks: Sequence[Chunk]) -> set[int]:
    """Return the ordinals of the chunks that begin a section."""
    before: tuple[str, ...] | None = None
    openings = set[int]()
    for chunk in chunks:
        if chunk.headings != before:
            openings.add(chunk.ordinal)
        before = chunk.headings
    return openings


def _spread(stretches: Sequence[list[Chunk]]) -> list[list[Chunk]]:
    """Order stretches as the van der Corput sequence does: each next one in a gap."""
    count = len(stretches)
    bits = max(1, (count - 1).bit_length())
    reversed_bits = (int(f"{at:0{bits}b}"[::-1], 2) for at in range(1 << bits))
    return [stretches[at] for at in reversed_bits if at < count]


def _worth(chunk: Chunk, *, opens: bool) -> float:
    """Judge how well a chunk stands for its stretch: dense, prose rather than tables, the start of a section.

    The higher a section stands, the more its beginning says about what follows.
    """
    prose = len(_NO_PROSE.sub("", chunk.text)) / max(1, len(chunk.text))
    bonus = _OPENING_BONUS / max(1, len(chunk.headings)) if opens else 0.0
    return (min(chunk.density, _DENSE_ENOUGH) + bonus) * prose**_PROSE_WEIGHT


def _shingles(text: str) -> set[str]:
    plain = "".join(text.split()).lower()
    return {plain[at : at + _SHINGLE] for at in range(max(1, len(plain) - _SHINGLE + 1))}
