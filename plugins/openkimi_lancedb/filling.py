"""Makes the vectors of stored documents in the background."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import msgspec
import structlog

from openkimi import Chunk, OpenKimiError, Vectors
from openkimi_lancedb.catalogue import Catalogue, Entry
from openkimi_lancedb.embedding import Embedding
from openkimi_lancedb.failures import storage_errors
from openkimi_lancedb.naming import vector_table
from openkimi_lancedb.parts import parts_of
from openkimi_lancedb.tables import Tables
from openkimi_lancedb.vectortable import VectorTable

log = structlog.get_logger()

_BATCH = 32
_WRITTEN_AT_ONCE = 512
_AT_ONCE = 4
_PAUSES = (2.0, 10.0, 60.0)


class Filling:
    """Fills the vectors of documents, each in a task; what was written survives a kill."""

    def __init__(self, tables: Tables, catalogue: Catalogue, embedding: Embedding) -> None:
        self._tables = tables
        self._catalogue = catalogue
        self._embedding = embedding
        self._tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def start(self, entry: Entry) -> asyncio.Event:
        """Start on a document, unless that is under way; the event is set when it ends or first fails."""
        if entry.slot not in self._tasks:
            settled = asyncio.Event()
            task = asyncio.create_task(self._run(entry, settled))
            self._tasks[entry.slot] = (task, settled)
            task.add_done_callback(lambda _: self._tasks.pop(entry.slot, None))
        _, settled = self._tasks[entry.slot]
        return settled

    async def complete(self, entry: Entry) -> Entry:
        """Make the vectors of a document that is not in the catalogue yet, and return its row with them."""
        async with self._room:
            with storage_errors("cannot write vectors"):
                size = await self._fill(entry)
        return msgspec.structs.replace(entry, embedder=self._embedding.fingerprint, size=size)

    async def size_to_come(self, chunks: Sequence[Chunk]) -> int:
        """Estimate the bytes of these chunks' vectors, two for each number."""
        parts = await asyncio.to_thread(lambda: sum(len(parts_of(chunk.text)) for chunk in chunks))
        return 2 * parts * self._embedding.dimensions

    async def stop(self, slot: str) -> None:
        """Stop filling a document."""
        if slot in self._tasks:
            await _cancel([self._tasks[slot][0]])

    async def close(self) -> None:
        """Stop everything; it goes on when the store is opened again."""
        await _cancel([task for task, _ in self._tasks.values()])

    async def _run(self, entry: Entry, settled: asyncio.Event) -> None:
        try:
            async with self._room:
                await self._try(entry, settled)
        except Exception:
            log.exception("vectors_failed", document=entry.id)
        finally:
            settled.set()

    async def _try(self, entry: Entry, settled: asyncio.Event) -> None:
        for pause in (*_PAUSES, None):
            try:
                with storage_errors("cannot write vectors"):
                    size = await self._fill(entry)
                await self._catalogue.set_embedder(entry.slot, self._embedding.fingerprint, size)
                return
            except OpenKimiError as error:
                if await self._is_gone(entry):
                    return
                log.warning("vectors_failed", document=entry.id, retry_in=pause, error=error.for_log)
                settled.set()
            if pause is not None:
                await asyncio.sleep(pause)

    async def _fill(self, entry: Entry) -> int:
        """Make what is missing; returns the bytes of all the document's tables."""
        chunks = await (await self._tables.chunks(entry.slot)).read()
        if chunks:
            await self._fill_table(entry, chunks)
        log.debug("vectors_ready", document=entry.id, chunks=len(chunks))
        return await self._tables.size(entry.slot, self._embedding.fingerprint)

    async def _fill_table(self, entry: Entry, chunks: Sequence[Chunk]) -> None:
        """Make the vectors of whole passages first: with them the document can be searched by its meaning."""
        name = vector_table(entry.slot, self._embedding.fingerprint)
        table = await VectorTable.create(self._tables.database, name, self._embedding.dimensions)
        await self._fill_parts(table, chunks, 0)
        await self._fill_parts(table, chunks, 1)
        await table.compact()

    async def _fill_parts(self, table: VectorTable, chunks: Sequence[Chunk], first: int) -> None:
        """Embed and write the parts of each chunk from number ``first`` on: the whole, or its sentences.

        Other processes may be at the same table: slices come in an order of chance, and each is left out as
        far as it is there by then.
        """
        present = await table.present(first)
        missing = [chunk for chunk in chunks if chunk.ordinal not in present]
        slices = [missing[at : at + _WRITTEN_AT_ONCE] for at in range(0, len(missing), _WRITTEN_AT_ONCE)]
        for part in random.sample(slices, len(slices)):
            present = await table.present(first)
            some = [chunk for chunk in part if chunk.ordinal not in present]
            made: dict[str, Vectors] = {}
            for at in range(0, len(some), _BATCH):
                made.update(await self._embedding.later(some[at : at + _BATCH], first))
            await table.append(some, made, first)

    async def _is_gone(self, entry: Entry) -> bool:
        current = await self._catalogue.find(entry.tenant, entry.id)
        return current is None or current.slot != entry.slot


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
