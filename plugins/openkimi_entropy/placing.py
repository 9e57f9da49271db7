"""Reads a text's lines and says under which headings each of them stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from openkimi_entropy.headings import LONGEST, Heading, continues, read_heading, read_title, underlined
from openkimi_entropy.lines import Check, Line, read_lines
from openkimi_entropy.outline import Outline

_LONGEST_RUN = 1_000
_CONTENTS = 3
"""So many headings with nothing under them are a table of contents."""


class Placed(NamedTuple):
    """A line with the path of headings above it; ``opens`` is set where a section starts."""

    line: Line
    path: tuple[str, ...]
    is_heading: bool
    opens: bool


class _Candidate(NamedTuple):
    line: Line
    heading: Heading


def place_lines(text: str, check: Check) -> Iterator[Placed]:
    """Yield every visible line of a text with its place.

    Headings without text between them open one section together; those that only list what is to come,
    as a table of contents does, are ordinary lines.
    """
    outline, run = Outline(), list[_Candidate]()
    for line, found in _read(text, check):
        heading = found if found is not None and outline.accepts(found) else None
        if heading is not None:
            run.append(_Candidate(line, heading))
        if heading is None or len(run) == _LONGEST_RUN:
            yield from _settle(run, outline)
            run.clear()
        if heading is None:
            yield Placed(line, outline.path, is_heading=False, opens=False)
    yield from _settle(run, outline)


def _read(text: str, check: Check) -> Iterator[tuple[Line, Heading | None]]:
    """Yield each line with the heading that it may be; a heading of two lines comes as one."""
    fences, lines = _Fences(text), read_lines(text, check)
    line = next(lines, None)
    while line is not None:
        below = next(lines, None)
        heading = None if fences.cover(line) else _heading_at(text, line, below)
        while heading is not None and below is not None and not below.after_blank:
            joined = _join(text, line, below, heading)
            if joined is None:
                break
            line, heading, below = *joined, next(lines, None)
        yield line, heading
        line = below


def _heading_at(text: str, line: Line, below: Line | None) -> Heading | None:
    if line.end - line.start > LONGEST:
        return None
    shown = text[line.start : line.end]
    under = text[below.start : min(below.end, below.start + 2 * LONGEST)] if below else ""
    before_blank = below is None or below.after_blank
    heading = read_heading(shown, below=under, after_blank=line.after_blank, before_blank=before_blank)
    if heading is None and line.after_blank and before_blank:
        return read_title(shown, below=under)
    return heading


def _join(text: str, line: Line, below: Line, heading: Heading) -> tuple[Line, Heading] | None:
    """Join a title to the signs that underline it, or to its second half in capitals."""
    under = text[below.start : min(below.end, below.start + LONGEST)]
    both = Line(line.start, below.end, line.after_blank)
    if underlined(heading, text[line.start : line.end], under):
        return both, heading
    if continues(heading, under):
        return both, heading._replace(title=f"{heading.title} {under}")
    return None


def _settle(run: Sequence[_Candidate], outline: Outline) -> Iterator[Placed]:
    """Enter the headings of a run that has no text inside it, and pass the listed ones on as lines."""
    kept = _kept(run)
    opening = True
    for at, (line, heading) in enumerate(run):
        if at in kept:
            outline.enter(heading)
            yield Placed(line, outline.path, is_heading=True, opens=opening)
        else:
            yield Placed(line, outline.path, is_heading=False, opens=False)
        opening = at not in kept


def _kept(run: Sequence[_Candidate]) -> set[int]:
    """Choose the headings of a run that have text below them, be it under a deeper one."""
    listed = _listed(run)
    chain: list[int] = []
    for at, (_, heading) in enumerate(run):
        if at in listed:
            continue
        while chain and run[chain[-1]].heading.rank >= heading.rank:
            listed.add(chain.pop())
        chain.append(at)
    return {at for at in chain if not _ends_contents(run, at, listed)}


def _listed(run: Sequence[_Candidate]) -> set[int]:
    """Find the candidates that stand line by line without going deeper each time: a list."""
    listed: set[int] = set()
    start = 0
    for at in range(1, len(run) + 1):
        if at < len(run) and not run[at].line.after_blank:
            continue
        ranks = [candidate.heading.rank for candidate in run[start:at]]
        if any(deeper <= rank for rank, deeper in pairwise(ranks)):
            listed.update(range(start, at))
        start = at
    return listed


def _ends_contents(run: Sequence[_Candidate], at: int, listed: set[int]) -> bool:
    """Tell the last entry of a table of contents, which looks like a heading of the text after it."""
    heading = run[at].heading
    before = [run[entry].heading for entry in listed if entry < at]
    if len(before) < _CONTENTS or all(entry.rank != heading.rank for entry in before):
        return False
    return all(entry.title != heading.title for entry in before)


class _Fences:
    """Knows which lines stand inside fenced code; a fence that is never closed is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._until = 0
        self._unclosed: set[str] = set()

    def cover(self, line: Line) -> bool:
        """Tell whether a line, asked for in order, is code or a fence."""
        if line.start < self._until:
            return True
        mark = self._text[line.start : line.start + 3]
        if mark not in ("```", "~~~") or mark in self._unclosed:
            return False
        closing = self._text.find("\n" + mark, line.start)
        if closing < 0:
            self._unclosed.add(mark)
            return False
        self._until = closing + 4
        return True
