"""Processes stored documents anew in the background, while their old passages answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from openkimi.contracts import Processor, Retriever
from openkimi.documents import Document
from openkimi.ending import end
from openkimi.errors import OpenKimiError

log = structlog.get_logger()

Key = tuple[str, str]
"""A tenant, and the id of a document of its."""


class Refreshing:
    """Adds documents again whose chunks another processor made: one at a time, when no search is running.

    ``refreshed`` is called with each that has its new chunks.
    """

    def __init__(self, processor: Processor, retriever: Retriever, refreshed: Callable[[Key], None]) -> None:
        self._processor = processor
        self._retriever = retriever
        self._refreshed = refreshed
        self._waiting: dict[Key, None] = {}
        self._at_work: tuple[Key, asyncio.Task[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._searches = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Begin nothing new while a search runs."""
        self._searches += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._searches -= 1
            if not self._searches:
                self._quiet.set()

    async def schedule_outdated(self) -> None:
        """Take up all stored documents that need it."""
        for tenant, document_id in await self._retriever.outdated(self._processor.version):
            self.schedule((tenant, document_id))

    def schedule(self, key: Key) -> None:
        """Take up a document, after those that wait already."""
        self._waiting[key] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def cancel(self, key: Key) -> None:
        """Leave a document alone, which is about to be deleted."""
        self._waiting.pop(key, None)
        if self._at_work is not None and self._at_work[0] == key:
            await end(self._at_work[1])

    async def close(self) -> None:
        """Stop; what was not done is taken up again at the next start."""
        self._waiting.clear()
        if self._at_work is not None:
            await end(self._at_work[1])
        if self._task is not None:
            await end(self._task)

    async def _run(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            work = asyncio.create_task(self._refresh(*key))
            self._at_work = (key, work)
            await asyncio.wait([work])
            self._at_work = None
            self._waiting.pop(key, None)

    async def _refresh(self, tenant: str, document_id: str) -> None:
        try:
            if await self._add_again(tenant, document_id):
                self._refreshed((tenant, document_id))
                log.info("document_refreshed", document=document_id)
        except OpenKimiError as error:
            log.warning("document_not_refreshed", document=document_id, error=error.for_log)
        except Exception:
            log.exception("document_not_refreshed", document=document_id)

    async def _add_again(self, tenant: str, document_id: str) -> bool:
        await self._quiet.wait()
        known = await self._retriever.get(document_id, tenant=tenant)
        if known is None:
            return False
        text = await self._retriever.text(document_id, tenant=tenant)
        document = Document(id=document_id, text=text, name=known.name, kept=known.kept)
        chunks = await self._processor.process(document)
        await self._quiet.wait()
        if await self._retriever.get(document_id, tenant=tenant) is None:
            return False
        await self._retriever.add(document, chunks, fingerprint=self._processor.version, tenant=tenant)
        return True
