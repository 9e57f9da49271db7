"""The document memory: what was processed once is not processed again."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from openkimi.contracts import Processor, Retriever
from openkimi.documents import Chunk, Document, DocumentInfo, Hit, Query
from openkimi.ending import end
from openkimi.errors import DocumentNotFound
from openkimi.progress import Progress, Report, ignore, logging, reporting
from openkimi.refreshing import Refreshing
from openkimi.reranking import Reranker
from openkimi.trimming import Trims

log = structlog.get_logger()

_REMEMBERED_CORES = 64
_CORE_CHUNKS = 64
_TRIES = 3


class Memory:
    """Processes documents into the retriever, and brings back what a question needs.

    ``stored`` is called for each document that was processed.
    """

    def __init__(
        self,
        processor: Processor,
        retriever: Retriever,
        reranker: Reranker | None = None,
        *,
        stored: Callable[[], None] | None = None,
    ) -> None:
        self.retriever = retriever
        self._stored = stored
        self._processor = processor
        self._reranker = reranker
        self._work = _Shared()
        self._owners: dict[str, str] = {}
        self._densest: OrderedDict[tuple[str, str], tuple[Chunk, ...]] = OrderedDict()
        self._forgotten = 0
        self._refreshing = Refreshing(processor, retriever, self._forget_densest)

    async def refresh(self) -> None:
        """Begin to process anew, in the background, what another processor or version has stored."""
        await self._refreshing.schedule_outdated()

    @property
    def parts(self) -> Sequence[Trims]:
        """What it is made of that may hold memory it can do without, itself included."""
        reranking = () if self._reranker is None else (self._reranker, self._reranker.embedder)
        return (self, self._processor, self.retriever, *reranking)

    async def trim(self) -> None:
        """Forget which chunks are the densest of their documents."""
        self._densest.clear()

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self._refreshing.close()

    async def remember(self, document: Document, tenant: str, report: Report = ignore) -> None:
        """Make a document searchable, unless it is.

        Two callers with the same document share the work, and each hears of its progress. One that is deleted
        or replaced before its name could be noted is remembered again.
        """
        for _ in range(_TRIES):
            await self._work.run(
                (tenant, document.id), lambda report: self._remember(document, tenant, report), report
            )
            if await self._describe(document, tenant):
                break

    def share(self, document_id: str, tenant: str) -> None:
        """Let every tenant search a document of this one."""
        self._owners[document_id] = tenant

    def is_shared(self, document_id: str, tenant: str) -> bool:
        """Tell whether it is a document of this tenant that every other one may search."""
        return self._owners.get(document_id) == tenant

    async def get(self, document_id: str, tenant: str) -> DocumentInfo | None:
        """Tell what is known of a document that the tenant may search, None when there is none."""
        return await self.retriever.get(document_id, tenant=self._owner(document_id, tenant))

    async def own(self, document_id: str, tenant: str) -> DocumentInfo | None:
        """Tell what is known of a document as the tenant calls it: its own before one that all share."""
        return await self.retriever.get(document_id, tenant=tenant) or await self.get(document_id, tenant)

    async def text(self, document_id: str, tenant: str) -> str:
        """Return the text of a document that the tenant may search.

        Raises:
            DocumentNotFound: there is none.
        """
        return await self.retriever.text(document_id, tenant=self._owner(document_id, tenant))

    async def list(self, tenant: str) -> Sequence[DocumentInfo]:
        """List the documents that the tenant may search, oldest first."""
        own = {info.id: info for info in await self.retriever.list(tenant=tenant)}
        shared = [
            await self.get(document_id, tenant) for document_id in self._owners if document_id not in own
        ]
        return sorted([*own.values(), *filter(None, shared)], key=lambda info: info.created)

    async def search(
        self,
        question: str,
        document_ids: Sequence[str],
        *,
        tenant: str,
        limit: int = 64,
        similarity_threshold: float | None = None,
    ) -> Sequence[Hit]:
        """Find at most ``limit`` passages of these documents that answer a question, best first."""
        if not question.strip() or not document_ids:
            return ()
        owned: dict[str, list[str]] = {}
        for document_id in document_ids:
            owned.setdefault(self._owner(document_id, tenant), []).append(document_id)
        with self._refreshing.held_back():
            found = [
                await self.retriever.search(
                    Query(
                        text=question,
                        document_ids=tuple(ids),
                        tenant=owner,
                        limit=limit,
                        similarity_threshold=similarity_threshold,
                    )
                )
                for owner, ids in owned.items()
            ]
        hits = sorted(itertools.chain(*found), key=lambda hit: -hit.score)[:limit]
        return hits if self._reranker is None else await self._reranker.rerank(question, hits)

    async def chunks(self, document_id: str, tenant: str) -> Sequence[Chunk]:
        """Return all of a document's chunks in order.

        Raises:
            DocumentNotFound: there is no such document that the tenant may search.
        """
        return await self.retriever.read(document_id, tenant=self._owner(document_id, tenant))

    async def densest(self, document_id: str, tenant: str) -> Sequence[Chunk]:
        """Return a document's densest chunks, the densest first; always the same for the same document.

        One that was deleted while a request uses it has none.
        """
        tenant = self._owner(document_id, tenant)
        key = (tenant, document_id)
        densest = self._densest.get(key)
        if densest is None:
            forgotten = self._forgotten
            try:
                chunks = await self.retriever.read(document_id, tenant=tenant)
            except DocumentNotFound:
                return ()
            return await self._note_densest(key, chunks, forgotten)
        self._densest.move_to_end(key)
        return densest

    async def forget(self, document_id: str, tenant: str) -> bool:
        """Delete a tenant's document; False when there was none."""
        await self._refreshing.cancel((tenant, document_id))
        existed = await self.retriever.delete(document_id, tenant=tenant)
        self._forget_densest((tenant, document_id))
        return existed

    def _owner(self, document_id: str, tenant: str) -> str:
        return self._owners.get(document_id, tenant)

    async def _remember(self, document: Document, tenant: str, report: Report) -> None:
        known = await self.retriever.get(document.id, tenant=tenant)
        if known is not None:
            if known.fingerprint != self._processor.version:
                self._refreshing.schedule((tenant, document.id))
            return
        write = logging(document=document.id)

        def tell(progress: Progress) -> None:
            write(progress)
            report(progress)

        with reporting("cutting", tell):
            chunks = await self._processor.process(document)
        forgotten = self._forgotten
        with reporting("storing", tell):
            await self.retriever.add(document, chunks, fingerprint=self._processor.version, tenant=tenant)
        await self._note_densest((tenant, document.id), chunks, forgotten)
        if self._stored is not None:
            self._stored()
        log.info("document_stored", document=document.id, characters=len(document.text), chunks=len(chunks))

    async def _describe(self, document: Document, tenant: str) -> bool:
        """Pass on a name, and that a document is to be kept, where it was stored without.

        Returns False when the document was deleted or replaced meanwhile: nothing was passed on then.
        """
        if not document.kept and document.name is None:
            return True
        known = await self.retriever.get(document.id, tenant=tenant)
        if known is None:
            return False
        if (known.kept or not document.kept) and document.name in (None, known.name):
            return True
        try:
            chunks = await self.retriever.read(document.id, tenant=tenant)
        except DocumentNotFound:
            return False
        now = await self.retriever.get(document.id, tenant=tenant)
        if now is None or now.fingerprint != known.fingerprint:
            return False
        await self.retriever.add(document, chunks, fingerprint=known.fingerprint, tenant=tenant)
        return True

    def _forget_densest(self, key: tuple[str, str]) -> None:
        self._forgotten += 1
        self._densest.pop(key, None)

    async def _note_densest(
        self, key: tuple[str, str], chunks: Sequence[Chunk], forgotten: int
    ) -> tuple[Chunk, ...]:
        """Find the densest chunks, and remember them if no document was forgotten since they were read."""
        densest = await asyncio.to_thread(_densest_of, chunks)
        if forgotten == self._forgotten:
            self._densest[key] = densest
            self._densest.move_to_end(key)
            if len(self._densest) > _REMEMBERED_CORES:
                self._densest.popitem(last=False)
        return densest


def _densest_of(chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    densest = heapq.nsmallest(_CORE_CHUNKS, chunks, key=lambda chunk: (-chunk.density, chunk.ordinal))
    return tuple(densest)


class _Shared:
    """Runs a piece of work once for all who ask for it meanwhile; it ends when the last of them leaves."""

    def __init__(self) -> None:
        self._tasks: dict[object, tuple[asyncio.Task[None], list[Report]]] = {}

    async def run(
        self, key: object, work: Callable[[Report], Coroutine[Any, Any, None]], report: Report
    ) -> None:
        while key in self._tasks and self._tasks[key][0].cancelling():
            await asyncio.wait([self._tasks[key][0]])
        if key not in self._tasks:
            self._begin(key, work)
        task, waiting = self._tasks[key]
        waiting.append(report)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if len(waiting) == 1:
                await end(task, error)
            raise
        finally:
            waiting.remove(report)

    def _begin(self, key: object, work: Callable[[Report], Coroutine[Any, Any, None]]) -> None:
        waiting: list[Report] = []

        def tell(progress: Progress) -> None:
            for report in tuple(waiting):
                report(progress)

        task = asyncio.create_task(work(tell))
        task.add_done_callback(lambda _: self._tasks.pop(key))
        self._tasks[key] = (task, waiting)
