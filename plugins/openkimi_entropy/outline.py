"""Keeps the path of headings that are open."""

from __future__ import annotations

from openkimi_entropy.headings import CAPITALS, LATE_CAPITALS, MARKDOWN, TOP_MARKDOWN, Heading


class Outline:
    """The headings above the present line, outermost first."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []
        self._markdown_base: int | None = None
        self._capitals: int | None = None
        self._numbers_seen = False
        self.path: tuple[str, ...] = ()

    def accepts(self, heading: Heading) -> bool:
        """Tell whether a heading can be one here: in a numbered text ``# `` starts a comment or a prompt."""
        return not (self._numbers_seen and self._markdown_base != 0 and heading.rank == TOP_MARKDOWN)

    def enter(self, heading: Heading) -> None:
        """Open a heading below those that stand higher, and close the rest."""
        rank = self._rank(heading)
        while self._open and self._open[-1][0] >= rank:
            self._open.pop()
        self._open.append((rank, heading.title))
        self.path = tuple(title for _, title in self._open)

    def _rank(self, heading: Heading) -> int:
        """Let what a text uses first, Markdown or numbers, capitals or numbers, stand above the other."""
        if heading.family == "markdown":
            if self._markdown_base is None:
                self._markdown_base = MARKDOWN if self._numbers_seen else 0
            return self._markdown_base + heading.rank
        if heading.family == "capitals":
            if self._capitals is None:
                self._capitals = LATE_CAPITALS if self._numbers_seen else CAPITALS
            return self._capitals
        if heading.family in ("name", "number"):
            self._numbers_seen = True
        return heading.rank
