"""One stored document: a LanceDB table of its chunks, with the terms of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openkimi import Chunk, report_progress
from openkimi_lancedb.postings import Hashing, Postings
from openkimi_lancedb.terms import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import AsyncConnection, AsyncTable

_SLICE = 512
_COLUMNS = ["key", "text", "start", "end", "ordinal", "headings", "density"]


class ChunkTable:
    """The chunks of one document, open for reading; they never change."""

    def __init__(self, table: AsyncTable, densities: NDArray[np.float64], postings: Postings) -> None:
        self._table = table
        self.densities = densities
        self.postings = postings

    @property
    def size(self) -> int:
        """The memory it takes, in bytes."""
        return self.densities.nbytes + self.postings.size

    @classmethod
    async def write(cls, database: AsyncConnection, name: str, text: str, chunks: Sequence[Chunk]) -> None:
        """Write a document's chunks as a new table."""
        await database.create_table(name, await _rows(text, chunks))

    @classmethod
    async def open(cls, database: AsyncConnection, name: str) -> ChunkTable:
        """Open a table and read into memory what ranks its chunks: their densities and their terms."""
        table = await database.open_table(name)
        counted = ["times"] if "times" in (await table.schema()).names else []
        rows = await table.query().select(["ordinal", "density", "terms", *counted]).to_arrow()
        return await asyncio.to_thread(cls._of, table, rows)

    @classmethod
    def _of(cls, table: AsyncTable, rows: pa.Table) -> ChunkTable:
        rows = (rows if "times" in rows.column_names else _counted(rows)).sort_by("ordinal")
        return cls(table, rows["density"].to_numpy(), Postings.of(rows))

    async def read(self, ordinals: Sequence[int] | None = None) -> list[Chunk]:
        """Read chunks in order: all of them, or those of the given ordinals that exist."""
        query = self._table.query().select(_COLUMNS)
        if ordinals is not None:
            wanted = {ordinal for ordinal in ordinals if 0 <= ordinal < len(self.densities)}
            if not wanted:
                return []
            query = query.where(f"ordinal IN ({', '.join(map(str, sorted(wanted)))})")
        rows = await query.to_arrow()
        return await asyncio.to_thread(_chunks, rows)

    async def document_text(self) -> str:
        """Put the document's text together again, to the character."""
        rows = await self._table.query().select(["ordinal", "start", "before", "text", "after"]).to_arrow()
        return await asyncio.to_thread(_joined, rows)


def _joined(rows: pa.Table) -> str:
    pieces, end = list[str](), 0
    columns = rows.sort_by("ordinal").select(["start", "before", "text", "after"])
    for start, before, text, after in zip(*(column.to_pylist() for column in columns), strict=True):
        pieces += (before, text[max(0, end - start) :], after)
        end = max(end, start + len(text))
    return "".join(pieces)


async def _rows(text: str, chunks: Sequence[Chunk]) -> pa.Table:
    """Make the rows slice by slice in a thread, so that the event loop gets its turns."""
    import pyarrow as pa

    vocabulary, hashing = Vocabulary(), Hashing()
    gaps = await asyncio.to_thread(_gaps, text, chunks)
    batches = []
    for at in range(0, max(1, len(chunks)), _SLICE):
        part = slice(at, at + _SLICE)
        batches.append(await asyncio.to_thread(_batch, chunks[part], gaps[part], vocabulary, hashing))
        report_progress(min(at + _SLICE, len(chunks)), len(chunks))
    return pa.Table.from_batches(batches)


def _gaps(text: str, chunks: Sequence[Chunk]) -> list[tuple[str, str]]:
    """Return what stands before each chunk, and after the last one, in no chunk at all."""
    gaps, end = list[tuple[str, str]](), 0
    for chunk in chunks:
        gaps.append((text[end : chunk.start], ""))
        end = max(end, chunk.end)
    if gaps:
        gaps[-1] = (gaps[-1][0], text[end:])
    return gaps


def _batch(
    chunks: Sequence[Chunk], gaps: Sequence[tuple[str, str]], vocabulary: Vocabulary, hashing: Hashing
) -> pa.RecordBatch:
    import pyarrow as pa

    counted = [hashing.count(vocabulary.document_terms(chunk.headings, chunk.text)) for chunk in chunks]
    columns = {
        "ordinal": pa.array([chunk.ordinal for chunk in chunks], pa.int32()),
        "key": pa.array([chunk.key for chunk in chunks], pa.string()),
        "text": pa.array([chunk.text for chunk in chunks], pa.string()),
        "headings": pa.array([chunk.headings for chunk in chunks], pa.list_(pa.string())),
        "start": pa.array([chunk.start for chunk in chunks], pa.int64()),
        "end": pa.array([chunk.end for chunk in chunks], pa.int64()),
        "before": pa.array([before for before, _ in gaps], pa.string()),
        "after": pa.array([after for _, after in gaps], pa.string()),
        "density": pa.array([chunk.density for chunk in chunks], pa.float64()),
        "terms": pa.array([hashes for hashes, _ in counted], pa.list_(pa.uint64())),
        "times": pa.array([times for _, times in counted], pa.list_(pa.uint16())),
    }
    return pa.RecordBatch.from_pydict(columns)


def _counted(rows: pa.Table) -> pa.Table:
    """Count the terms of a table of layout 2, which has them joined by spaces."""
    import pyarrow as pa

    hashing = Hashing()
    counted = [hashing.count(terms.split()) for terms in rows["terms"].to_pylist()]
    return pa.table(
        {
            "ordinal": rows["ordinal"],
            "density": rows["density"],
            "terms": pa.array([hashes for hashes, _ in counted], pa.list_(pa.uint64())),
            "times": pa.array([times for _, times in counted], pa.list_(pa.uint16())),
        }
    )


def _chunks(rows: pa.Table) -> list[Chunk]:
    return [
        Chunk(
            key=row["key"],
            text=row["text"],
            start=row["start"],
            end=row["end"],
            ordinal=row["ordinal"],
            headings=tuple(row["headings"]),
            density=row["density"],
        )
        for batch in rows.sort_by("ordinal").to_batches(max_chunksize=_SLICE)
        for row in batch.to_pylist()
    ]
