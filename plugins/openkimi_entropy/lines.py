"""Reads a text line by line in steps short enough that other threads are never kept waiting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

STEP = 16_384
"""The most characters that one call of the regular expression engine looks at."""

_BREAK = re.compile("\r\n|[\n\r\f\v\x85\u2028\u2029]")
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
    """Yield the lines of a text that are not blank; both kinds of paragraph mark are line breaks."""
    position, after_blank = 0, True
    while position < len(text):
        found = search(_BREAK, text, position, len(text), check)
        end = found.start() if found else len(text)
        if visible := search(VISIBLE, text, position, end, check):
            yield Line(visible.start(), _visible_end(text, visible.start(), end, check), after_blank)
        after_blank = visible is None
        position = found.end() if found else len(text)


def _visible_end(text: str, start: int, end: int, check: Check) -> int:
    """Step back over the white space before ``end``."""
    while end > start and text[end - 1].isspace():
        piece = text[max(start, end - STEP) : end]
        end -= len(piece) - len(piece.rstrip())
        check()
    return end
