"""Cuts what is too long for a model into equal parts, and gathers parts into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Segment(NamedTuple):
    """A part of the text with that number: its ids, and how many of them are the text's own."""

    number: int
    tokens: list[int]
    weight: int


def segments(number: int, prefix: Sequence[int], body: Sequence[int], room: int) -> Iterator[Segment]:
    """Cut a text's ids into as few parts as ``room`` allows, of about equal length, each after the prefix."""
    own = max(1, room - len(prefix))
    count = -(-len(body) // own)
    for part in range(count):
        ids = body[len(body) * part // count : len(body) * (part + 1) // count]
        yield Segment(number, [*prefix, *ids], len(ids))


def batches(parts: Iterable[Segment], *, tokens: int, sequences: int) -> Iterator[list[Segment]]:
    """Gather parts, in their order, into batches of that many tokens and sequences at most.

    A part that is longer than ``tokens`` is a batch of its own.
    """
    batch: list[Segment] = []
    size = 0
    for part in parts:
        if batch and (len(batch) == sequences or size + len(part.tokens) > tokens):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += len(part.tokens)
    if batch:
        yield batch
