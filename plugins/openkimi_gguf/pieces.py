"""A rendered prompt in pieces, so that users' text is never taken for the template's markers."""

from __future__ import annotations

from typing import NamedTuple


class Piece(NamedTuple):
    """A run of a rendered prompt; only what the template itself wrote may hold markers."""

    text: str
    from_template: bool


class Infill(NamedTuple):
    """The markers of a model that was taught to fill in text (Bavarian et al., arXiv 2207.14255)."""

    prefix: str
    suffix: str
    middle: str

    def between(self, prefix: str, suffix: str) -> list[Piece]:
        """Render a prompt for what stands between two texts."""
        return [
            Piece(self.prefix, from_template=True),
            Piece(prefix, from_template=False),
            Piece(self.suffix, from_template=True),
            Piece(suffix, from_template=False),
            Piece(self.middle, from_template=True),
        ]
