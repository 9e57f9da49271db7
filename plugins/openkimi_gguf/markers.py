"""A model's special tokens, and how a rendered prompt is cut at those of the template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from openkimi_gguf.pieces import Piece


class Marker(NamedTuple):
    """A special token; ``lstrip`` and ``rstrip`` swallow the white space before and after it."""

    id: int
    lstrip: bool = False
    rstrip: bool = False


class Run(NamedTuple):
    """Text to be tokenised with nothing special in it, and the marker that follows it, if any."""

    text: str
    marker: Marker | None


class Markers:
    """The special tokens of a model by their texts; ``ids`` are their numbers."""

    def __init__(self, markers: Mapping[str, Marker]) -> None:
        self._markers = {text: marker for text, marker in markers.items() if text}
        longest_first = sorted(self._markers, key=len, reverse=True)
        self._pattern = re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")
        self.ids = frozenset(marker.id for marker in self._markers.values())

    def of(self, texts: Iterable[str]) -> frozenset[int]:
        """Find the numbers of some texts; those that are no special tokens are left out."""
        return frozenset(marker.id for text in texts if (marker := self._markers.get(text)))

    def runs(self, pieces: Iterable[Piece]) -> list[Run]:
        """Cut a prompt at the template's markers; in users' text what looks like one is text."""
        runs, strip = [], False
        for text, marker in self._cut(pieces):
            run = text.lstrip() if strip else text
            strip = marker is not None and marker.rstrip
            if marker is not None and marker.lstrip:
                run = run.rstrip()
            runs.append(Run(run, marker))
        return runs

    def fragments(self, text: str) -> list[str]:
        """Take a text apart so that no fragment is a marker, for the rare one whose ids hold some.

        SentencePiece can merge plain characters into "</s>"; and some models' tags are plain tokens.
        """
        return [
            fragment
            for position, part in enumerate(self._pattern.split(text))
            for fragment in (part if position % 2 else (part,))
            if fragment
        ]

    def _cut(self, pieces: Iterable[Piece]) -> Iterable[tuple[str, Marker | None]]:
        run: list[str] = []
        for piece in pieces:
            if not piece.from_template:
                run.append(piece.text)
                continue
            for part in self._pattern.split(piece.text):
                if marker := self._markers.get(part):
                    yield "".join(run), marker
                    run.clear()
                else:
                    run.append(part)
        yield "".join(run), None
