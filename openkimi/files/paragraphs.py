"""Paragraphs and headings out of lines that have only a place on a page."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

_LARGER = 1.15
_LONGEST_HEADING = 200
_RANKS = 4
_WIDER = 1.35
_INDENT = 0.8
_SHORT = 0.85
_END = re.compile(r"[.!?。！？…:：][\"'”’」』）)]*$")
_UNSPACED = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""Letters and punctuation of scripts that put no spaces between words."""
_ITEM = re.compile(r"(?:[-•▪◦‣·*]|\(?\d{1,3}[.)]|[a-z]\))\s")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a page; ``top`` grows upwards, ``size`` is the height of its letters, all in points."""

    text: str
    page: int
    left: float
    right: float
    top: float
    size: float


def paragraphs_of(lines: Sequence[Line], outline: Mapping[tuple[int, str], int]) -> Iterator[str]:
    """Join lines to paragraphs; headings are those of the outline, or have larger letters than most.

    ``outline`` gives the rank of a heading by its page and its letters.
    """
    layout = _Layout.of(lines)
    parts: list[Line] = []
    heading = 0
    for line in lines:
        rank = outline.get((line.page, letters(line.text))) or layout.rank_of(line)
        goes_on = layout.wraps(parts[-1], line) if parts and rank else not layout.begins(parts, line)
        if parts and (rank != heading or not goes_on):
            yield _shown(parts, heading)
            parts = []
        heading = rank
        parts.append(line)
    if parts:
        yield _shown(parts, heading)


class _Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What is usual in a document: its letters' size, the sizes above it, the distance of its lines."""

    size: float
    larger: tuple[float, ...]
    pitch: float
    right: Mapping[int, float]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> _Layout:
        sizes: Counter[float] = Counter()
        right: dict[int, float] = {}
        for line in lines:
            sizes[line.size] += len(line.text)
            right[line.page] = max(right.get(line.page, 0.0), line.right)
        size = sizes.most_common(1)[0][0] if sizes else 0.0
        larger = sorted((other for other in sizes if other > size * _LARGER), reverse=True)
        pitches = Counter(
            round(above.top - below.top, 1)
            for above, below in itertools.pairwise(lines)
            if above.page == below.page and above.size == below.size == size and above.top > below.top
        )
        pitch = pitches.most_common(1)[0][0] if pitches else size
        return cls(size=size, larger=tuple(larger), pitch=pitch, right=right)

    def rank_of(self, line: Line) -> int:
        """Tell a heading's rank by its size, 0 for what is none."""
        if line.size not in self.larger or len(line.text) > _LONGEST_HEADING:
            return 0
        return min(self.larger.index(line.size) + 1, _RANKS)

    def wraps(self, last: Line, line: Line) -> bool:
        """Judge whether a line goes on with a heading that was too long for one."""
        distance = last.top - line.top
        return last.page == line.page and last.size == line.size and 0 < distance < line.size * _WIDER

    def begins(self, parts: Sequence[Line], line: Line) -> bool:
        """Judge whether a line begins a paragraph after those."""
        if not parts:
            return True
        last = parts[-1]
        ended = _END.search(last.text) is not None
        if _ITEM.match(line.text):
            return True
        if last.page != line.page or line.top >= last.top:
            return ended
        if last.top - line.top > self.pitch * _WIDER or line.size != last.size:
            return True
        if line.left > last.left + self.size * _INDENT:
            return True
        return ended and last.right < self.right[last.page] * _SHORT


def _shown(lines: Sequence[Line], rank: int) -> str:
    return f"{'#' * rank} {_join(lines)}" if rank else _join(lines)


def _join(lines: Sequence[Line]) -> str:
    text = lines[0].text
    for line in lines[1:]:
        if text.endswith("\u00ad"):
            text = text[:-1] + line.text
        elif _UNSPACED.match(text[-1]) and _UNSPACED.match(line.text[0]):
            text += line.text
        else:
            text += f" {line.text}"
    return text


def letters(text: str) -> str:
    """Return a text's letters and digits, for comparing."""
    return "".join(filter(str.isalnum, text.casefold()))
