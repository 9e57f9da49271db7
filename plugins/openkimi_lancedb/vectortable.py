"""The vectors of one document, searched exhaustively, in memory unless they are too many for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from openkimi import Chunk, Vectors
from openkimi_lancedb.matrix import Matrices, Matrix
from openkimi_lancedb.parts import MOST, likeness

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import AsyncConnection, AsyncTable

_READ_AT_ONCE = 2048
_ROWS_LOOKED_AT = 4
_YOUNGEST = timedelta(milliseconds=1)


class VectorTable:
    """One embedder's vectors of a document's chunks, by ordinal; a killed process may have left some out.

    A chunk has a row for each of its parts: the whole is part 0, and is written first; its sentences follow
    together. A row may stand twice when two processes filled the table; the rows are equal then. Halved
    numbers (float16) are exact to the third decimal and take half the disk.
    """

    def __init__(self, table: AsyncTable, matrices: Matrices) -> None:
        self._table = table
        self._matrices = matrices

    @classmethod
    async def create(cls, database: AsyncConnection, name: str, dimensions: int) -> VectorTable:
        """Open the table that a document's vectors go to, a new one where there is none."""
        return cls(await database.create_table(name, schema=_schema(dimensions), exist_ok=True), Matrices(0))

    @classmethod
    async def open(
        cls, database: AsyncConnection, name: str, matrices: Matrices | None = None
    ) -> VectorTable:
        """Open a table that exists, as it is now; what is searched is kept in ``matrices``."""
        return cls(await database.open_table(name), matrices or Matrices(0))

    async def append(self, chunks: Sequence[Chunk], vectors: Mapping[str, Vectors], first: int = 0) -> None:
        """Write parts of some chunks, from the ``first`` on: by the chunk's key, ``(parts, dimensions)``."""
        if any(len(vectors[chunk.key]) for chunk in chunks):
            await self._table.add(await asyncio.to_thread(_rows, chunks, vectors, first))

    async def present(self, first: int = 0) -> set[int]:
        """Tell which chunks have the vectors of their parts from the ``first`` on, others' included."""
        await self._table.checkout_latest()  # type: ignore[no-untyped-call]
        rows = await self._table.query().select(["ordinal", "part"]).to_arrow()
        ordinals, parts = rows["ordinal"].to_numpy(), rows["part"].to_numpy()
        return set(ordinals[(parts > 0) if first else (parts == 0)].tolist())

    async def compact(self) -> None:
        """Make one file of the many that were appended, and remove what stood there before."""
        await self._table.optimize()
        # Nothing younger is removed, and the step before compaction may be.
        await asyncio.sleep(_YOUNGEST.total_seconds() * 2)
        await self._table.optimize(cleanup_older_than=_YOUNGEST)

    async def take(self, keys: Collection[str]) -> dict[str, Vectors]:
        """Read the vectors of those chunks, known by their keys, that stand here."""
        rows = await self._table.query().select(["ordinal", "key"]).to_arrow()
        places = zip(rows["ordinal"].to_pylist(), rows["key"].to_pylist(), strict=True)
        wanted = sorted({key: ordinal for ordinal, key in places if key in keys}.values())
        found: dict[str, Vectors] = {}
        for at in range(0, len(wanted), _READ_AT_ONCE):
            some = _among(wanted[at : at + _READ_AT_ONCE])
            part = await self._table.query().where(some).select(["key", "part", "vector"]).to_arrow()
            found.update(await asyncio.to_thread(_by_key, part))
        return found

    async def nearest(
        self, vector: Vectors, limit: int, also: Sequence[int]
    ) -> tuple[dict[int, float], dict[int, float]]:
        """Tell how near the chunks nearest to a vector are, and some others too: all of them, the nearest.

        A chunk is as near as :func:`openkimi_lancedb.parts.likeness` says, by those parts that are there.
        """
        matrix = await self._matrix()
        if matrix is not None:
            return await asyncio.to_thread(matrix.nearest, vector, limit, also)
        first = await self._distances(vector, limit * _ROWS_LOOKED_AT)
        near = list(dict.fromkeys(first["ordinal"].to_pylist()))[:limit]
        wanted = sorted({*near, *also})
        if not wanted:
            return {}, {}
        found = _likenesses(await self._distances(vector, len(wanted) * MOST, _among(wanted)))
        return found, {ordinal: found[ordinal] for ordinal in near if ordinal in found}

    async def cosines(self, vector: Vectors, ordinals: Sequence[int]) -> dict[int, list[float]]:
        """Tell the cosine of each part of those chunks that are there, the whole first."""
        matrix = await self._matrix()
        if matrix is not None:
            return await asyncio.to_thread(matrix.cosines, vector, ordinals)
        rows = await self._distances(vector, len(ordinals) * MOST, _among(ordinals)) if ordinals else None
        return {} if rows is None else _cosines(rows)

    async def _matrix(self) -> Matrix | None:
        """Read what is not in memory yet; None when the table has more than may be there."""
        name, version = self._table.name, await self._table.version()
        known = self._matrices.get(name)
        if known is not None and known.version == version:
            return known
        rows = await self._table.count_rows()
        if rows * await self._dimensions() > self._matrices.most_bytes:
            return None
        some = self._table.query().select(["ordinal", "part", "vector"])
        if known is not None and known.read <= rows:
            more = await asyncio.to_thread(Matrix.of, await some.offset(known.read).to_arrow(), version)
            matrix = await asyncio.to_thread(known.extended, more)
        else:
            matrix = await asyncio.to_thread(Matrix.of, await some.to_arrow(), version)
        self._matrices.keep(name, matrix)
        return matrix

    async def _dimensions(self) -> int:
        schema = await self._table.schema()
        return int(schema.field("vector").type.list_size)

    async def _distances(self, vector: Vectors, limit: int, where: str | None = None) -> pa.Table:
        query = self._table.query().nearest_to(vector).distance_type("dot").limit(limit)
        if where is not None:
            query = query.where(where)
        return await query.select(["ordinal", "part", "_distance"]).to_arrow()


def _likenesses(rows: pa.Table) -> dict[int, float]:
    return {ordinal: likeness(cosines) for ordinal, cosines in _cosines(rows).items()}


def _cosines(rows: pa.Table) -> dict[int, list[float]]:
    cosines: dict[int, dict[int, float]] = {}
    columns = (rows[name].to_pylist() for name in ("ordinal", "part", "_distance"))
    for ordinal, part, distance in zip(*columns, strict=True):
        cosines.setdefault(ordinal, {})[part] = 1.0 - distance
    return {ordinal: [some[part] for part in sorted(some)] for ordinal, some in cosines.items()}


def _among(ordinals: Sequence[int]) -> str:
    return f"ordinal IN ({', '.join(map(str, ordinals))})"


def _schema(dimensions: int) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("ordinal", pa.int32()),
            ("part", pa.int16()),
            ("key", pa.string()),
            ("vector", pa.list_(pa.float16(), dimensions)),
        ]
    )


def _rows(chunks: Sequence[Chunk], vectors: Mapping[str, Vectors], first: int) -> pa.Table:
    import pyarrow as pa

    rows = [(chunk, first + part) for chunk in chunks for part in range(len(vectors[chunk.key]))]
    matrix = np.concatenate([vectors[chunk.key] for chunk in chunks]).astype(np.float16)
    columns = [
        pa.array([chunk.ordinal for chunk, _ in rows], pa.int32()),
        pa.array([part for _, part in rows], pa.int16()),
        pa.array([chunk.key for chunk, _ in rows], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1]),
    ]
    return pa.Table.from_arrays(columns, schema=_schema(matrix.shape[1]))


def _by_key(rows: pa.Table) -> dict[str, Vectors]:
    column = rows["vector"].combine_chunks()
    matrix = column.flatten().to_numpy().reshape(len(rows), -1).astype(np.float32)
    found: dict[str, dict[int, Vectors]] = {}
    for key, part, vector in zip(rows["key"].to_pylist(), rows["part"].to_pylist(), matrix, strict=True):
        found.setdefault(key, {})[part] = vector
    return {key: np.stack([some[part] for part in sorted(some)]) for key, some in found.items()}
