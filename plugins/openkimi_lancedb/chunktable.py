"""One stored document: a LanceDB table of its chunks with a full-text index of its own.

A table for each document makes the index's statistics those of this document, whatever else is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openkimi import Chunk, report_progress
from openkimi_lancedb.terms import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import AsyncConnection, AsyncTable
    from lancedb.index import FTS

_SLICE = 512
_COLUMNS = ["key", "text", "start", "end", "ordinal", "headings", "density"]


class ChunkTable:
    """The chunks of one document, open for reading; they never change."""

    def __init__(self, table: AsyncTable, densities: NDArray[np.float64]) -> None:
        self._table = table
        self.densities = densities

    @classmethod
    async def write(cls, database: AsyncConnection, name: str, text: str, chunks: Sequence[Chunk]) -> None:
        """Write a document's chunks as a new table and index their terms."""
        rows = await _rows(text, chunks)
        table = await database.create_table(name, rows)
        if chunks:
            await table.create_index("terms", config=_terms_index())

    @classmethod
    async def open(cls, database: AsyncConnection, name: str) -> ChunkTable:
        """Open a table and read the densities, which break ties."""
        table = await database.open_table(name)
        rows = await table.query().select(["ordinal", "density"]).to_arrow()
        densities = rows.sort_by("ordinal")["density"].to_numpy()
        return cls(table, densities)

    def tie_break(self, ordinal: int) -> tuple[float, int]:
        """Order chunks of equal score: the denser one first, then the earlier one."""
        return -float(self.densities[ordinal]), ordinal

    async def lexical(self, terms: Sequence[str], limit: int) -> dict[int, float]:
        """Score the chunks that have any of the terms by BM25, the best ``limit`` of them."""
        if not terms or not len(self.densities):
            return {}
        from lancedb.query import MatchQuery

        match = MatchQuery(" ".join(terms), column="terms")  # type: ignore[call-arg]
        found = self._table.query().nearest_to_text(match).select(["ordinal", "_score"]).limit(limit)
        rows = await found.to_arrow()
        return dict(zip(rows["ordinal"].to_pylist(), rows["_score"].to_pylist(), strict=True))

    async def terms(self, ordinals: Sequence[int]) -> dict[int, set[str]]:
        """Read the terms of some chunks."""
        listed = ", ".join(map(str, ordinals))
        query = self._table.query().where(f"ordinal IN ({listed})").select(["ordinal", "terms"])
        rows = await query.to_arrow()
        return {row["ordinal"]: set(row["terms"].split(" ")) for row in rows.to_pylist()}

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


def _terms_index() -> FTS:
    from lancedb.index import FTS

    return FTS(
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
    )


async def _rows(text: str, chunks: Sequence[Chunk]) -> pa.Table:
    """Make the rows slice by slice in a thread, so that the event loop gets its turns."""
    import pyarrow as pa

    vocabulary = Vocabulary()
    gaps = await asyncio.to_thread(_gaps, text, chunks)
    batches = []
    for at in range(0, max(1, len(chunks)), _SLICE):
        part = slice(at, at + _SLICE)
        batches.append(await asyncio.to_thread(_batch, chunks[part], gaps[part], vocabulary))
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
    chunks: Sequence[Chunk], gaps: Sequence[tuple[str, str]], vocabulary: Vocabulary
) -> pa.RecordBatch:
    import pyarrow as pa

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
        "terms": pa.array(
            [vocabulary.document_terms(chunk.headings, chunk.text) for chunk in chunks], pa.string()
        ),
    }
    return pa.RecordBatch.from_pydict(columns)


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
