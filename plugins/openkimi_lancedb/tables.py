"""Keeps the tables open that are used most, which saves reading their indexes again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.failures import LANCE_ERRORS
from openkimi_lancedb.matrix import Matrices
from openkimi_lancedb.naming import chunk_table, slot_of, vector_table
from openkimi_lancedb.vectortable import VectorTable

if TYPE_CHECKING:
    from lancedb import AsyncConnection

_MOST_OPEN = 1024
_MOST_BYTES = 128 * 1024 * 1024


class Tables:
    """Opens and drops the tables of documents, by slot; what it raises is LanceDB's."""

    def __init__(self, database: AsyncConnection) -> None:
        self.database = database
        self._matrices = Matrices()
        self._open: OrderedDict[str, tuple[ChunkTable, dict[str, VectorTable]]] = OrderedDict()
        self._bytes = 0
        self._checked: set[str] = set()

    async def chunks(self, slot: str) -> ChunkTable:
        """Open a document's chunks."""
        if slot not in self._open:
            table = await ChunkTable.open(self.database, chunk_table(slot))
            if slot not in self._open:
                self._keep(slot, table)
        self._open.move_to_end(slot)
        return self._open[slot][0]

    async def check(self, slot: str, chunks: int) -> None:
        """Look once, not each time, whether a document can be read and has so many chunks."""
        if slot in self._checked:
            return
        table = await self.chunks(slot)
        if len(table.densities) != chunks:
            raise OSError("rows are missing")
        self._checked.add(slot)

    def _keep(self, slot: str, table: ChunkTable) -> None:
        """Keep a table open in place of those that were not used for longest."""
        self._open[slot] = (table, {})
        self._bytes += table.size
        while len(self._open) > 1 and (len(self._open) > _MOST_OPEN or self._bytes > _MOST_BYTES):
            self._close(next(iter(self._open)))

    def _close(self, slot: str) -> dict[str, VectorTable]:
        """Close a document's tables and return those of its vectors."""
        if slot not in self._open:
            return {}
        table, vectors = self._open.pop(slot)
        self._bytes -= table.size
        return vectors

    async def vectors(self, slot: str, embedder: str) -> VectorTable:
        """Open a document's vectors."""
        _, known = self._open.get(slot, (None, {}))
        name = vector_table(slot, embedder)
        if name not in known:
            known[name] = await self.growing_vectors(slot, embedder)
        return known[name]

    async def growing_vectors(self, slot: str, embedder: str) -> VectorTable:
        """Open a document's vectors while they are being made, as they are now."""
        return await VectorTable.open(self.database, vector_table(slot, embedder), self._matrices)

    async def size(self, slot: str, embedder: str) -> int:
        """Count the bytes of a document's tables, as far as they are written."""
        total = 0
        for name in (chunk_table(slot), vector_table(slot, embedder)):
            try:
                stats: Any = await (await self.database.open_table(name)).stats()
                total += int(stats["total_bytes"])
            except LANCE_ERRORS:
                continue
        return total

    def forget(self, slot: str) -> None:
        """Close a document's tables, so that the next use opens them anew."""
        self._checked.discard(slot)
        for name in self._close(slot):
            self._matrices.forget(name)

    def close_all(self) -> None:
        """Close all tables; searches that are running go on with those they have."""
        self._open.clear()
        self._bytes = 0
        self._matrices.clear()

    async def names(self) -> list[str]:
        """List all tables."""
        names: list[str] = []
        token = None
        while True:
            page = await self.database.list_tables(page_token=token, limit=1000)
            names.extend(page.tables)
            token = page.page_token
            if not token:
                return names

    async def drop(self, name: str) -> None:
        """Drop a table, if it is there."""
        slot = slot_of(name)
        if slot is not None:
            self.forget(slot)
            self._matrices.forget(name)
        await self.database.drop_table(name, ignore_missing=True)
