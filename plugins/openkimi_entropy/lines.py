"""Reads a text line by line in steps short enough that other threads are never kept waiting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

STEP = 16_384
"""The most characters that one call of the regular expression engine looks at."""

_BREAK = re.compile("[\n\r\f\v\x85\u2028\u2029]")
_BREAKS = re.compile("\r\n|[\n\r\f\v\x85\u2028\u2029]")
VISIBLE = re.compile(r"\S")

Check = Callable[[], None]
"""Called now and then; raises :class:`Stopped` when the result is no longer wanted."""


class Stopped(Exception):
    """The work was called off."""


class Line(NamedTuple):
    """A line that shows something: where its visible part starts and ends, and if a blank one precedes it."""

    start: int
    end: int
    after_blank: bool


def search(pattern: re.Pattern[str], text: str, start: int, end: int, check: Check) -> re.Match[str] | None:
    """Find a pattern of few characters as ``pattern.search`` does, in steps of :data:`STEP`."""
    while start < end:
        check()
        stop = min(end, start + STEP)
        if found := pattern.search(text, start, stop):
            return found
        start = stop
    return None


def read_lines(text: str, check: Check) -> Iterator[Line]:
    """Yield the lines of a text that are not blank; page and paragraph marks are line breaks too."""
    above = 0
    while visible := search(VISIBLE, text, above, len(text), check):
        start = visible.start()
        found = search(_BREAK, text, start, len(text), check)
        end = found.start() if found else len(text)
        yield Line(start, _visible_end(text, start, end, check), _has_blank(text, above, start))
        above = end


def _has_blank(text: str, start: int, end: int) -> bool:
    """Tell whether white space between two lines, or before the first, holds an empty one."""
    return start == 0 or len(_BREAKS.findall(text, start, min(end, start + STEP))) > 1


def _visible_end(text: str, start: int, end: int, check: Check) -> int:
    """Step back over the white space before ``end``."""
    while end > start and text[end - 1].isspace():
        check()
        piece = text[max(start, end - STEP) : end]
        end -= len(piece) - len(piece.rstrip())
    return end
