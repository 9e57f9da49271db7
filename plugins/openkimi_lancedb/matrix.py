"""A document's vectors in memory, as bytes: a question is compared with all of them in a few milliseconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openkimi import Vectors

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 256
_LARGEST = 127
_MOST_BYTES = 256 * 1024 * 1024


class Matrix:
    """The rows of a table of vectors up to one of its versions; each number is a byte, times the row's scale.

    That adds an error of less than 0.001 to nearly every cosine, and takes a quarter of a single-precision
    array. ``read`` counts the table's rows, those included that stand there twice.
    """

    def __init__(
        self,
        *,
        version: int,
        read: int,
        places: NDArray[np.int64],
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
    ) -> None:
        self.version = version
        self.read = read
        self._places = places
        self._numbers = numbers
        self._scales = scales
        ordinals = places >> 32
        self._starts = np.flatnonzero(np.diff(ordinals, prepend=-1))
        self._ordinals = ordinals[self._starts]

    @classmethod
    def of(cls, rows: pa.Table, version: int) -> Matrix:
        """Make a matrix of rows with ``ordinal``, ``part`` and ``vector``."""
        places = rows["ordinal"].to_numpy().astype(np.int64) << 32 | rows["part"].to_numpy().astype(np.int64)
        dimensions = rows.schema.field("vector").type.list_size
        numbers = np.empty((len(rows), dimensions), np.int8)
        scales = np.empty(len(rows), np.float32)
        at = 0
        for batch in rows.select(["vector"]).to_batches(max_chunksize=_ROWS_AT_ONCE):
            vectors = batch["vector"].flatten().to_numpy().reshape(-1, dimensions).astype(np.float32)
            part = slice(at, at + len(vectors))
            scales[part] = np.abs(vectors).max(axis=1) / _LARGEST
            steps = np.where(scales[part] > 0, scales[part], 1)
            numbers[part] = np.rint(vectors / steps[:, None])
            at += len(vectors)
        return cls._sorted(version, len(rows), places, numbers, scales)

    @classmethod
    def _sorted(
        cls,
        version: int,
        read: int,
        places: NDArray[np.int64],
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
    ) -> Matrix:
        unique, first = np.unique(places, return_index=True)
        if not np.array_equal(first, np.arange(len(places))):
            numbers, scales = numbers[first], scales[first]
        return cls(version=version, read=read, places=unique, numbers=numbers, scales=scales)

    @property
    def size(self) -> int:
        """The memory it takes, in bytes."""
        return self._numbers.nbytes + self._scales.nbytes + self._places.nbytes

    def extended(self, more: Matrix) -> Matrix:
        """Add the rows that were read after those of this one."""
        return self._sorted(
            more.version,
            self.read + more.read,
            np.concatenate([self._places, more._places]),
            np.concatenate([self._numbers, more._numbers]),
            np.concatenate([self._scales, more._scales]),
        )

    def nearest(
        self, vector: Vectors, limit: int, also: Sequence[int]
    ) -> tuple[dict[int, float], dict[int, float]]:
        """Tell how near the ``limit`` nearest chunks are, and some others too: all of them, the nearest."""
        values = self._likenesses(vector)
        near = np.argsort(-values, kind="stable")[:limit]
        others = np.flatnonzero(np.isin(self._ordinals, list(also)))
        nearest = dict(zip(self._ordinals[near].tolist(), values[near].tolist(), strict=True))
        named = dict(zip(self._ordinals[others].tolist(), values[others].tolist(), strict=True))
        return {**named, **nearest}, nearest

    def cosines(self, vector: Vectors, ordinals: Sequence[int]) -> dict[int, list[float]]:
        """Tell the cosine of each part of some chunks, the whole first."""
        ends = np.append(self._starts[1:], len(self._numbers))
        found: dict[int, list[float]] = {}
        for at in np.flatnonzero(np.isin(self._ordinals, list(ordinals))):
            part = slice(self._starts[at], ends[at])
            numbers = self._numbers[part].astype(np.float32)
            found[int(self._ordinals[at])] = ((numbers @ vector) * self._scales[part]).tolist()
        return found

    def _likenesses(self, vector: Vectors) -> NDArray[np.float32]:
        """Tell each chunk's likeness as :func:`openkimi_lancedb.parts.likeness` does."""
        if not len(self._starts):
            return np.zeros(0, np.float32)
        cosines = self._cosines(vector)
        wholes = cosines[self._starts]
        cosines[self._starts] = -np.inf
        best = np.maximum.reduceat(cosines, self._starts)
        return np.where(np.isneginf(best), wholes, (wholes + best) / 2)

    def _cosines(self, vector: Vectors) -> NDArray[np.float32]:
        """Multiply slice by slice, small enough for the processor's cache; ``einsum`` starts no threads."""
        cosines = np.empty(len(self._numbers), np.float32)
        for at in range(0, len(self._numbers), _ROWS_AT_ONCE):
            part = slice(at, at + _ROWS_AT_ONCE)
            np.einsum("ij,j->i", self._numbers[part].astype(np.float32), vector, out=cosines[part])
        cosines *= self._scales
        return cosines


class Matrices:
    """The matrices that were used last, by the names of their tables, as many as fit a bound in bytes."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[str, Matrix] = OrderedDict()

    def get(self, name: str) -> Matrix | None:
        """Return a matrix that was kept."""
        if name in self._kept:
            self._kept.move_to_end(name)
        return self._kept.get(name)

    def keep(self, name: str, matrix: Matrix) -> None:
        """Keep a matrix in place of those that were not used for longest."""
        self._kept[name] = matrix
        self._kept.move_to_end(name)
        while len(self._kept) > 1 and sum(kept.size for kept in self._kept.values()) > self.most_bytes:
            self._kept.popitem(last=False)

    def forget(self, name: str) -> None:
        """Let a matrix go."""
        self._kept.pop(name, None)

    def clear(self) -> None:
        """Let all matrices go."""
        self._kept.clear()
