"""The vectors of one document, searched exhaustively: at a document's size that is exact and fast enough."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from openkimi import Chunk, Vectors

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import AsyncConnection, AsyncTable

_READ_AT_ONCE = 2048


class VectorTable:
    """One embedder's vectors of a document's chunks, by ordinal; a killed process may have left some out.

    A row may stand twice when two processes filled the table; the rows are equal then.
    """

    def __init__(self, table: AsyncTable) -> None:
        self._table = table

    @classmethod
    async def create(cls, database: AsyncConnection, name: str, dimensions: int) -> VectorTable:
        """Open the table that a document's vectors go to, a new one where there is none."""
        return cls(await database.create_table(name, schema=_schema(dimensions), exist_ok=True))

    @classmethod
    async def open(cls, database: AsyncConnection, name: str) -> VectorTable:
        """Open a table that exists."""
        return cls(await database.open_table(name))

    async def append(self, chunks: Sequence[Chunk], vectors: Mapping[str, Vectors]) -> None:
        """Write the vectors, known by the chunks' keys, of some chunks."""
        if chunks:
            await self._table.add(await asyncio.to_thread(_rows, chunks, vectors))

    async def ordinals(self) -> set[int]:
        """Tell which chunks have their vector."""
        rows = await self._table.query().select(["ordinal"]).to_arrow()
        return set(rows["ordinal"].to_pylist())

    async def take(self, keys: Collection[str]) -> dict[str, Vectors]:
        """Read the vectors of those chunks, known by their keys, that stand here."""
        rows = await self._table.query().select(["ordinal", "key"]).to_arrow()
        places = zip(rows["ordinal"].to_pylist(), rows["key"].to_pylist(), strict=True)
        wanted = sorted({key: ordinal for ordinal, key in places if key in keys}.values())
        found: dict[str, Vectors] = {}
        for at in range(0, len(wanted), _READ_AT_ONCE):
            some = _among(wanted[at : at + _READ_AT_ONCE])
            part = await self._table.query().where(some).select(["key", "vector"]).to_arrow()
            found.update(await asyncio.to_thread(_by_key, part))
        return found

    async def nearest(
        self, vector: Vectors, limit: int, among: Sequence[int] | None = None
    ) -> dict[int, float]:
        """Tell the cosines of the chunks nearest to a vector; where given, among these ordinals only."""
        query = self._table.query().nearest_to(vector).distance_type("dot").limit(limit)
        if among is not None:
            query = query.where(_among(among))
        rows = await query.select(["ordinal", "_distance"]).to_arrow()
        cosines = (1.0 - distance for distance in rows["_distance"].to_pylist())
        return dict(zip(rows["ordinal"].to_pylist(), cosines, strict=True))


def _among(ordinals: Sequence[int]) -> str:
    return f"ordinal IN ({', '.join(map(str, ordinals))})"


def _schema(dimensions: int) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("ordinal", pa.int32()),
            ("key", pa.string()),
            ("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )


def _rows(chunks: Sequence[Chunk], vectors: Mapping[str, Vectors]) -> pa.Table:
    import pyarrow as pa

    matrix = np.stack([vectors[chunk.key] for chunk in chunks]).astype(np.float32, copy=False)
    dimensions = matrix.shape[1]
    columns = [
        pa.array([chunk.ordinal for chunk in chunks], pa.int32()),
        pa.array([chunk.key for chunk in chunks], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), dimensions),
    ]
    return pa.Table.from_arrays(columns, schema=_schema(dimensions))


def _by_key(rows: pa.Table) -> dict[str, Vectors]:
    column = rows["vector"].combine_chunks()
    matrix = column.flatten().to_numpy().reshape(len(rows), -1).astype(np.float32, copy=True)
    return dict(zip(rows["key"].to_pylist(), matrix, strict=True))
