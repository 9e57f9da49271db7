"""Spans of a text: its sentences, found in any language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_END = re.compile(r"""(?<![.!?])[.!?]+["'”’)\]»]*(?=\s|$)|[。！？；…]+["'”’」』）】》]*""")
_MARK = re.compile(r"(?:[-*•–#>|]+[ \t]+|\d{1,3}[.)、][ \t]*)+")
_ABBREVIATED = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Gen|Col|Sen|Rep|Gov|Inc|Ltd|Co|No|Fig|Vol|vs|cf|etc|approx)"
    r"|(?:^|\n)[ \t]*\d{1,3})\.$"
)
_BREAK = re.compile(r"\n")
_LOOK_BACK = 12
_WRAPPED_FROM = 50
"""Characters from which a line that just stops is taken for one that was wrapped."""

_LONGEST = 400
_CLAUSE_END = re.compile(r"[\s，、；：,;:]+")


class Span(NamedTuple):
    """A stretch of a text, in characters."""

    start: int
    end: int


def claims_of(answer: str) -> list[Span]:
    """Find the sentences of an answer; each of its lines is one at least."""
    return _spans(answer, {match.end() for match in _BREAK.finditer(answer)})


def sentences_of(text: str) -> list[Span]:
    """Find the sentences of a passage, whose lines may be wrapped.

    One of more than 400 characters, such as a table, comes in pieces.
    """
    breaks = {match.end() for match in _BREAK.finditer(text) if not _is_wrapped(text, match.start())}
    return [piece for span in _spans(text, breaks) for piece in _pieces(text, span)]


def _spans(text: str, breaks: set[int]) -> list[Span]:
    ends = {match.end() for match in _END.finditer(text) if _ends_sentence(text, match)}
    edges = sorted({0, len(text), *ends, *breaks})
    spans = (_trimmed(text, start, end) for start, end in pairwise(edges))
    return [span for span in spans if span.start < span.end]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Tell a full stop from that of an abbreviation, of a list's number, or in the middle of a sentence."""
    if match[0] != ".":
        return True
    rest = text[match.end() : match.end() + 3].lstrip()
    before = text[max(0, match.start() - _LOOK_BACK) : match.end()]
    return not rest[:1].islower() and not _ABBREVIATED.search(before)


def _is_wrapped(text: str, at: int) -> bool:
    """Tell whether the line that ends there goes on in the next one."""
    line = text[text.rfind("\n", 0, at) + 1 : at].rstrip()
    rest = text[at + 1 : at + 80].split("\n", 1)[0].lstrip()
    if not line or not rest or _MARK.match(rest):
        return False
    return rest[0].islower() or (len(line) >= _WRAPPED_FROM and (line[-1].isalnum() or line[-1] in ",;-，、"))


def _trimmed(text: str, start: int, end: int) -> Span:
    """Take white space off both ends, and marks of lists and headings off the beginning of what they mark."""
    piece = text[start:end].rstrip()
    begin = len(piece) - len(piece.lstrip())
    mark = _MARK.match(piece, begin)
    if mark and mark.end() < len(piece):
        begin = mark.end()
    return Span(start + begin, start + len(piece))


def _pieces(text: str, span: Span) -> Iterator[Span]:
    start, end = span
    while end - start > _LONGEST:
        clauses = list(_CLAUSE_END.finditer(text, start + _LONGEST // 2, start + _LONGEST))
        cut = clauses[-1].end() if clauses else start + _LONGEST
        yield _trimmed(text, start, cut)
        start = cut
    yield _trimmed(text, start, end)
