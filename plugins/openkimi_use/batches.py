"""Groups texts into batches small enough that a query in between is never kept waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

LARGEST_BATCH = 32
LARGEST_BATCH_BYTES = 2_500
"""Some four passages of 600 characters, 30 ms on one core; more at once is hardly faster."""

LONGEST_PIECE = 2_000
"""The encoder reads a text of any length, but takes 20 KB of memory for a token of it."""


class Piece(NamedTuple):
    """A part of the text with that number, and the share it has in the text's vector."""

    number: int
    text: str
    weight: int


def batches(texts: Sequence[str]) -> Iterator[list[Piece]]:
    """Yield the pieces of texts in batches; a text without visible characters has none."""
    batch: list[Piece] = []
    size = 0
    for piece in _pieces(texts):
        if batch and (len(batch) == LARGEST_BATCH or size + piece.weight > LARGEST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.weight
    if batch:
        yield batch


def _pieces(texts: Sequence[str]) -> Iterator[Piece]:
    for number, text in enumerate(texts):
        start = 0
        while start < len(text):
            end = _piece_end(text, start)
            # The tokenizer cannot take lone surrogates.
            data = text[start:end].encode("utf-8", "replace")
            piece = data.decode()
            if any(sign.isprintable() and not sign.isspace() for sign in piece):
                yield Piece(number, piece, len(data))
            start = end


def _piece_end(text: str, start: int) -> int:
    """Find where a piece ends: at the text's end, after a space, or anywhere."""
    end = start + LONGEST_PIECE
    if end >= len(text):
        return len(text)
    space = text.rfind(" ", start + LONGEST_PIECE // 2, end)
    return end if space < 0 else space + 1
