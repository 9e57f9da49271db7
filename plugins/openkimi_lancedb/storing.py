"""Writes documents so that each is whole or absent, whenever the process is killed.

A document's tables are written under a new slot; then its row in the catalogue, which makes it exist. What
is deleted loses its row first. Tables without a row are swept away when the store is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog

from openkimi import Chunk, Document, OpenKimiError, StorageError
from openkimi_lancedb.catalogue import (
    READABLE,
    Catalogue,
    Entry,
    digest_of,
    sketch_of,
    slots_of_newer_versions,
)
from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.evicting import Evicting
from openkimi_lancedb.failures import LANCE_ERRORS, storage_errors
from openkimi_lancedb.filling import Filling
from openkimi_lancedb.inheriting import inherit_vectors
from openkimi_lancedb.naming import age_of, chunk_table, new_slot, slot_of, vector_table
from openkimi_lancedb.tables import Tables

log = structlog.get_logger()

_WAITED_FOR = 512
_WAITED_AT_ONCE = 1.0
_RELATIVES = 3
_ORPHAN_AGE = 2 * 60 * 60
"""Seconds after which tables without a row are no work in progress, of another process either."""


class Storing:
    """Adds and deletes documents; one writer at a time for each document of a tenant."""

    def __init__(
        self,
        tables: Tables,
        catalogue: Catalogue,
        filling: Filling,
        evicting: Evicting,
        *,
        embedder: str,
        vector_wait: float,
    ) -> None:
        self._tables = tables
        self._catalogue = catalogue
        self._filling = filling
        self._evicting = evicting
        self._embedder = embedder
        self._vector_wait = vector_wait
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, document: Document, chunks: Sequence[Chunk], fingerprint: str, tenant: str) -> None:
        """Store a document, unless the same chunks of it are stored, and start on its vectors."""
        digest = await asyncio.to_thread(digest_of, chunks)
        async with self._lock(tenant, document.id):
            known = entry = await self._catalogue.find(tenant, document.id)
            if (
                entry is None
                or not entry.is_current
                or (entry.fingerprint, entry.digest) != (fingerprint, digest)
            ):
                entry = Entry(
                    slot=new_slot(tenant, document.id, fingerprint),
                    tenant=tenant,
                    id=document.id,
                    fingerprint=fingerprint,
                    digest=digest,
                    characters=len(document.text),
                    chunks=len(chunks),
                    created=known.created if known else time.time(),
                    name=document.name,
                    kept=document.kept,
                )
                await self._write(entry, document.text, chunks, known)
                return
            await self._describe(entry, document)
            if entry.embedder != self._embedder:
                self._filling.start(entry)

    async def renew_vectors(self, entry: Entry) -> None:
        """Make vectors again that cannot be read."""
        await self._filling.stop(entry.slot)
        await self._catalogue.set_embedder(entry.slot, "")
        await self._drop([vector_table(entry.slot, self._embedder)])
        self._filling.start(entry)

    async def delete(self, document_id: str, tenant: str) -> bool:
        """Delete a document with all that stands in its place."""
        async with self._lock(tenant, document_id):
            existed = await self._catalogue.find(tenant, document_id) is not None
            await self._retire(await self._catalogue.rows_of(tenant, document_id))
        return existed

    async def sweep(self) -> None:
        """Drop what a killed process left behind, and rows that newer ones stand for."""
        current = {entry.slot: entry for entry in await self._catalogue.entries()}
        rows = await self._catalogue.rows()
        await self._retire([row for row in rows if row.slot not in current and row.layout in READABLE])
        with storage_errors("cannot list the stored documents"):
            names = await self._tables.names()
            foreign = await slots_of_newer_versions(self._tables.database, names)
        foreign |= {row.slot for row in rows if row.layout not in READABLE}
        await self._drop([name for name in names if self._is_orphan(name, current, foreign)])

    async def make_room(self) -> None:
        """Drop the documents that were not used for longest while the store is too large."""
        for victim in await self._evicting.victims():
            async with self._lock(victim.tenant, victim.id):
                entry = await self._catalogue.find(victim.tenant, victim.id)
                if entry is None or entry.slot != victim.slot or not self._evicting.may_go(entry):
                    continue
                rows = await self._catalogue.rows_of(entry.tenant, entry.id)
                rows = [row for row in rows if row.layout in READABLE]
                if not await self._catalogue.remove_unless_kept([row.slot for row in rows]):
                    continue
                await self._drop_tables(rows)
            log.info("document_dropped", document=victim.id, bytes=victim.size, reason="rag.max_size")

    def resume(self, entries: Sequence[Entry]) -> None:
        """Go on with the vectors of documents that lack them."""
        for entry in entries:
            if entry.embedder != self._embedder:
                self._filling.start(entry)

    async def close(self) -> None:
        """Finish what must not be left half done, and what comes of it."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _write(self, entry: Entry, text: str, chunks: Sequence[Chunk], known: Entry | None) -> None:
        """Write a document; one that can be searched by its meaning already is replaced when this one can.

        When it is left, cancelled or not, the document is published or is not going to be.
        """
        sketch = await asyncio.to_thread(sketch_of, chunks)
        rows = await self._catalogue.rows_of(entry.tenant, entry.id)
        sources = [*rows, *await self._catalogue.likest(entry, sketch, _RELATIVES)]
        try:
            with storage_errors("cannot store the document"):
                await ChunkTable.write(self._tables.database, chunk_table(entry.slot), text, chunks)
                if entry.kept and not any(row.kept for row in rows):
                    await self._check_room(entry, chunks)
                new = await inherit_vectors(self._tables, entry.slot, chunks, sources, self._embedder)
                size = await self._tables.size(entry.slot, self._embedder)
            entry = msgspec.structs.replace(entry, size=size)
            if known is not None and known.embedder == self._embedder:
                entry = await self._completed(entry)
        except BaseException:
            self._spawn(self._drop(self._names(entry)))
            raise
        await _finish(self._spawn(self._publish(entry, sketch)))
        if new <= _WAITED_FOR and entry.embedder != self._embedder:
            await _wait(self._filling.start(entry), min(self._vector_wait, _WAITED_AT_ONCE))

    async def wait_for_vectors(self, entry: Entry) -> None:
        """Wait for the vectors of a document that is not long, as long as that is allowed."""
        if entry.embedder != self._embedder and entry.chunks <= _WAITED_FOR:
            await _wait(self._filling.start(entry), self._vector_wait)

    async def _describe(self, entry: Entry, document: Document) -> None:
        """Note a new name, and that a document that came along is given to be stored now."""
        name, kept = document.name or entry.name, document.kept or entry.kept
        if kept and not entry.kept:
            await self._evicting.check_room(entry)
        if (name, kept) != (entry.name, entry.kept):
            await self._catalogue.describe(entry.slot, name, kept=kept)

    async def _check_room(self, entry: Entry, chunks: Sequence[Chunk]) -> None:
        """Refuse a document that is to be kept and would not fit with the vectors it is going to have."""
        size = await self._tables.size(entry.slot, self._embedder)
        size += await self._filling.size_to_come(chunks)
        await self._evicting.check_room(msgspec.structs.replace(entry, size=size))

    async def _completed(self, entry: Entry) -> Entry:
        """Make the vectors first, unless the embedder fails."""
        try:
            return await self._filling.complete(entry)
        except StorageError:
            raise
        except OpenKimiError as error:
            log.warning("vectors_follow", document=entry.id, error=error.for_log)
            return entry

    async def _publish(self, entry: Entry, sketch: Sequence[str]) -> None:
        """Put a document in the place of what stands for it; rows of an unknown layout are left alone."""
        older = await self._catalogue.rows_of(entry.tenant, entry.id)
        await self._catalogue.put(self._heir(entry, older), sketch)
        if entry.embedder != self._embedder:
            self._filling.start(entry)
        await self._retire([row for row in older if row.layout in READABLE])
        self._spawn(self.make_room())

    def _heir(self, entry: Entry, older: Sequence[Entry]) -> Entry:
        """Take over a document's name, that it is kept and when it was used, from damaged rows too."""
        names = [row.name for row in sorted(older, key=lambda row: age_of(row.slot)) if row.name]
        return msgspec.structs.replace(
            entry,
            name=entry.name or next(iter(names), None),
            kept=entry.kept or any(row.kept for row in older),
            used=max(map(self._evicting.last_use, older), default=entry.used),
        )

    async def _retire(self, rows: Sequence[Entry]) -> None:
        await self._catalogue.remove([row.slot for row in rows])
        await self._drop_tables(rows)

    async def _drop_tables(self, rows: Sequence[Entry]) -> None:
        for row in rows:
            await self._filling.stop(row.slot)
            await self._drop(self._names(row))

    async def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                await self._tables.drop(name)
            except LANCE_ERRORS as error:
                log.warning("table_not_dropped", table=name, error=str(error))

    def _names(self, entry: Entry) -> list[str]:
        embedders = {self._embedder, entry.embedder} - {""}
        return [chunk_table(entry.slot), *(vector_table(entry.slot, name) for name in sorted(embedders))]

    def _is_orphan(self, name: str, current: dict[str, Entry], foreign: set[str]) -> bool:
        slot = slot_of(name)
        if slot is None or slot in foreign or age_of(slot) < _ORPHAN_AGE:
            return False
        return slot not in current or name not in self._names(current[slot])

    def _lock(self, tenant: str, document_id: str) -> asyncio.Lock:
        return self._locks.setdefault((tenant, document_id), asyncio.Lock())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _finish(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended; a cancellation meanwhile counts after that."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.warning("document_not_stored", error=str(failure))
        raise cancelled
    task.result()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        log.debug("vectors_follow")
