"""Compares passages so that a failure shows where they differ, and not all that they say."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi.documents import Chunk, Hit


def brief(hits: Sequence[Hit]) -> list[tuple[str, int, float]]:
    """Tell of each hit the beginning of its document's id, its ordinal and its score."""
    return [(hit.document_id[:12], hit.chunk.ordinal, hit.score) for hit in hits]


def same_hits(given: Sequence[Hit], expected: Sequence[Hit]) -> None:
    """Fail unless hits are the same in the same order, each field as it was."""
    assert brief(given) == brief(expected)
    for number, (one, other) in enumerate(zip(given, expected, strict=True)):
        differing = [name for name in Hit.__struct_fields__ if getattr(one, name) != getattr(other, name)]
        assert not differing, f"hit {number} is another one in {' and '.join(differing)}"


def same_chunks(given: Sequence[Chunk], expected: Sequence[Chunk]) -> None:
    """Fail unless chunks are the same in the same order, each field as it was."""
    assert _places(given) == _places(expected)
    for one, other in zip(given, expected, strict=True):
        differing = [name for name in Chunk.__struct_fields__ if getattr(one, name) != getattr(other, name)]
        assert not differing, f"chunk {other.ordinal} is another one in {' and '.join(differing)}"


def _places(chunks: Sequence[Chunk]) -> list[tuple[int, int, int]]:
    return [(chunk.ordinal, chunk.start, chunk.end) for chunk in chunks]
