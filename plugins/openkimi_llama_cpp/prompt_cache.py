"""Keeps in memory what streams had read when they were needed for something else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from openkimi_llama_cpp.context import Snapshot
from openkimi_llama_cpp.reading import best, common_prefix

# What has at most this share of its own is as good as there already.
SMALL_SHARE = 0.25


class PromptCache:
    """Snapshots, ``limit`` bytes of them at most; the least recently used ones go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._snapshots: list[Snapshot] = []  # the least recently used one first

    @property
    def size(self) -> int:
        """The bytes that are kept."""
        return sum(snapshot.data.nbytes for snapshot in self._snapshots)

    def __iter__(self) -> Iterator[Snapshot]:
        """Yield the snapshots, the most recently used one first."""
        return reversed(self._snapshots)

    def put(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and drop what it makes superfluous."""
        tokens = snapshot.tokens
        self._snapshots = [kept for kept in self._snapshots if not covers(tokens, kept.tokens)]
        self._snapshots.append(snapshot)
        while self.size > self._limit:
            self._snapshots.pop(0)

    def best(self, tokens: list[int], *, reproducible: bool) -> tuple[int, Snapshot | None]:
        """Find the snapshot that saves the most reading, with the number of tokens that it saves."""
        return best(self, tokens, reproducible=reproducible)

    def touch(self, snapshot: Snapshot) -> None:
        """Note that a snapshot was used."""
        self._snapshots = [kept for kept in self._snapshots if kept is not snapshot]
        self._snapshots.append(snapshot)

    def clear(self) -> None:
        """Drop all snapshots."""
        self._snapshots.clear()


def covers(tokens: NDArray[np.int32], others: NDArray[np.int32]) -> bool:
    """Tell whether whoever has read ``tokens`` needs little more to have read ``others``."""
    return len(others) - common_prefix(tokens, others) <= SMALL_SHARE * len(others)
