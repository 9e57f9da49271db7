"""Finds the sentences of a passage."""

from __future__ import annotations

import re

_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？；]+[”’」』）]*|\n+")


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text start and end, without the white space around them."""
    spans, start = list[tuple[int, int]](), 0
    for end in (*(match.end() for match in _END.finditer(text)), len(text)):
        piece = text[start:end]
        if visible := piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(visible)))
        start = end
    return spans
