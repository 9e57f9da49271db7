"""The retriever: documents in LanceDB, one table each, found by their words and their meaning."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog

from openkimi import (
    ANONYMOUS,
    Chunk,
    Document,
    DocumentInfo,
    DocumentNotFound,
    Hit,
    Query,
    Retriever,
    Sentence,
    Vectors,
)
from openkimi_lancedb.catalogue import Catalogue, Entry
from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.embedding import Embedding
from openkimi_lancedb.evicting import Uses
from openkimi_lancedb.failures import LANCE_ERRORS, DamagedDocument
from openkimi_lancedb.lexical import Lexical, Place, search_words
from openkimi_lancedb.meaning import Meaning, VectorsLost, cosines_of_parts, search_meaning
from openkimi_lancedb.merging import Scored, merge
from openkimi_lancedb.storing import Storing
from openkimi_lancedb.tables import Tables
from openkimi_lancedb.terms import Vocabulary, query_terms
from openkimi_lancedb.weighing import weigh

T = TypeVar("T")
log = structlog.get_logger()

_SEARCHED_AT_ONCE = 8


class LanceDBRetriever(Retriever):
    """Finds chunks by BM25 and by cosine, fused by rank."""

    def __init__(
        self,
        *,
        tables: Tables,
        catalogue: Catalogue,
        embedding: Embedding,
        storing: Storing,
        uses: Uses,
        rrf_k: int,
    ) -> None:
        self._tables = tables
        self._catalogue = catalogue
        self._embedding = embedding
        self._storing = storing
        self._uses = uses
        self._rrf_k = rrf_k

    async def add(
        self, document: Document, chunks: Sequence[Chunk], *, fingerprint: str, tenant: str = ANONYMOUS
    ) -> None:
        """Store a document's chunks; a long document's vectors follow in the background."""
        await self._storing.add(document, chunks, fingerprint, tenant)

    async def get(self, document_id: str, *, tenant: str = ANONYMOUS) -> DocumentInfo | None:
        """Tell what is known of a document; one that is damaged is absent, so that it is added again."""

        async def inform(entry: Entry) -> DocumentInfo:
            await self._tables.check(entry.slot, entry.chunks)
            return entry.info(self._embedding.fingerprint)

        try:
            return await self._with_document(document_id, tenant, inform)
        except DamagedDocument:
            return None

    async def list(self, *, tenant: str = ANONYMOUS) -> Sequence[DocumentInfo]:
        """List the tenant's documents, oldest first."""
        entries = await self._catalogue.entries()
        return [entry.info(self._embedding.fingerprint) for entry in entries if entry.tenant == tenant]

    async def read(
        self, document_id: str, *, tenant: str = ANONYMOUS, ordinals: Sequence[int] | None = None
    ) -> Sequence[Chunk]:
        """Read a document's chunks in order."""

        async def read(entry: Entry) -> Sequence[Chunk]:
            return await (await self._tables.chunks(entry.slot)).read(ordinals)

        chunks = await self._with_document(document_id, tenant, read)
        if chunks is None:
            raise DocumentNotFound(f"there is no stored document '{document_id}'")
        return chunks

    async def text(self, document_id: str, *, tenant: str = ANONYMOUS) -> str:
        """Return a document's text."""

        async def read(entry: Entry) -> str:
            return await (await self._tables.chunks(entry.slot)).document_text()

        text = await self._with_document(document_id, tenant, read)
        if text is None:
            raise DocumentNotFound(f"there is no stored document '{document_id}'")
        return text

    async def search(self, query: Query) -> Sequence[Hit]:
        """Rank the chunks of the named documents together; damaged ones are passed over if others remain.

        When one of them was replaced meanwhile, what stands there now is searched, once.

        Raises:
            StorageError: none of the documents that the tenant has can be read.
        """
        terms = await asyncio.to_thread(query_terms, query.text)
        if query.limit < 1 or not await self._any_stored(query):
            return ()
        vector = await self._embedding.question(query.text)
        scope = await self._scope(query)
        hits = await self._found(query, scope, terms, vector)
        if await self._catalogue.are_current(entry for entry, _ in scope.values()):
            return hits
        return await self._found(query, await self._scope(query), terms, vector)

    async def _found(
        self,
        query: Query,
        scope: Mapping[int, tuple[Entry, ChunkTable]],
        terms: Sequence[str],
        vector: Vectors | None,
    ) -> Sequence[Hit]:
        """Rank the chunks of documents that are open."""
        tables = {number: table for number, (_, table) in scope.items()}
        lexical = await asyncio.to_thread(search_words, tables, terms)
        if vector is not None and not lexical.is_telling:
            scope = await self._with_vectors(scope)
        meaning = {} if vector is None else await self._meaning(scope, vector, lexical)
        scored = merge(
            lexical,
            meaning,
            {number: table.densities for number, table in tables.items()},
            rrf_k=self._rrf_k,
            similarity_threshold=query.similarity_threshold,
        )[: query.limit]
        return await self._hits(
            scored, {number: entry for number, (entry, _) in scope.items()}, lexical, vector
        )

    async def delete(self, document_id: str, *, tenant: str = ANONYMOUS) -> bool:
        """Forget a tenant's document."""
        return await self._storing.delete(document_id, tenant)

    async def outdated(self, fingerprint: str) -> Sequence[tuple[str, str]]:
        """List the documents, of all tenants, that are cut or indexed otherwise than they would be today."""
        entries = await self._catalogue.entries()
        return [
            (entry.tenant, entry.id)
            for entry in entries
            if entry.fingerprint != fingerprint or not entry.is_current
        ]

    async def trim(self) -> None:
        """Close the tables with what is in memory of them; what is searched next is read from the store."""
        self._tables.close_all()
        self._embedding.trim()
        await asyncio.to_thread(_release_arrow)

    async def _any_stored(self, query: Query) -> bool:
        for document_id in query.document_ids:
            if await self._catalogue.find(query.tenant, document_id) is not None:
                return True
        return False

    async def _scope(self, query: Query) -> dict[int, tuple[Entry, ChunkTable]]:
        """Open the documents, each once; the numbers are their places in the query."""
        room = asyncio.Semaphore(_SEARCHED_AT_ONCE)

        async def open_chunks(entry: Entry) -> tuple[Entry, ChunkTable]:
            return entry, await self._tables.chunks(entry.slot)

        async def find(document_id: str) -> tuple[Entry, ChunkTable] | DamagedDocument | None:
            async with room:
                try:
                    return await self._with_document(document_id, query.tenant, open_chunks)
                except DamagedDocument as error:
                    return error

        results = await asyncio.gather(*map(find, dict.fromkeys(query.document_ids)))
        scope = {number: result for number, result in enumerate(results) if isinstance(result, tuple)}
        damaged = [result for result in results if isinstance(result, DamagedDocument)]
        if damaged and not scope:
            raise damaged[0]
        return scope

    async def _meaning(
        self, scope: Mapping[int, tuple[Entry, ChunkTable]], vector: Vectors, lexical: Lexical
    ) -> dict[int, Meaning]:
        """Search each document by its meaning."""
        room = asyncio.Semaphore(_SEARCHED_AT_ONCE)

        async def search(number: int, entry: Entry, table: ChunkTable) -> Meaning:
            best = list(lexical.scores[number])
            async with room:
                try:
                    return await search_meaning(self._tables, entry, table, vector, best, self._embedding)
                except VectorsLost:
                    return await self._without_vectors(entry, table, vector, best)

        found = await asyncio.gather(*(search(number, *each) for number, each in scope.items()))
        return dict(zip(scope, found, strict=True))

    async def _with_vectors(
        self, scope: Mapping[int, tuple[Entry, ChunkTable]]
    ) -> Mapping[int, tuple[Entry, ChunkTable]]:
        """Wait for vectors that are being made: what is asked in other words is found by them alone."""

        async def waited(entry: Entry, table: ChunkTable) -> tuple[Entry, ChunkTable]:
            if entry.embedder == self._embedding.fingerprint:
                return entry, table
            await self._storing.wait_for_vectors(entry)
            current = await self._catalogue.find(entry.tenant, entry.id)
            return (current if current and current.slot == entry.slot else entry), table

        return dict(
            zip(scope, await asyncio.gather(*(waited(*each) for each in scope.values())), strict=True)
        )

    async def _without_vectors(
        self, entry: Entry, table: ChunkTable, vector: Vectors, best: Sequence[int]
    ) -> Meaning:
        """Have lost vectors made again, unless it is the document that is gone, and do without them."""
        current = await self._catalogue.find(entry.tenant, entry.id)
        if current is None or current.slot != entry.slot:
            return Meaning()
        log.warning("vectors_lost", document=entry.id)
        await self._storing.renew_vectors(entry)
        entry = msgspec.structs.replace(entry, embedder="")
        return await search_meaning(self._tables, entry, table, vector, best, self._embedding)

    async def _hits(
        self,
        scored: Sequence[Scored],
        entries: Mapping[int, Entry],
        lexical: Lexical,
        vector: Vectors | None,
    ) -> Sequence[Hit]:
        """Read the texts of what was found; a document deleted meanwhile has none."""
        wanted: dict[int, list[int]] = defaultdict(list)
        for found in scored:
            number, ordinal = found.place
            wanted[number].append(ordinal)
        texts: dict[Place, Chunk] = {}
        cosines: dict[Place, Sequence[float]] = {}
        for number, ordinals in wanted.items():
            for chunk in await self._texts(entries[number], ordinals):
                texts[number, chunk.ordinal] = chunk
            for ordinal, some in (await self._cosines(entries[number], vector, ordinals)).items():
                cosines[number, ordinal] = some
        sentences = await asyncio.to_thread(_weighed, texts, cosines, lexical)
        return [
            Hit(
                document_id=entries[found.place[0]].id,
                chunk=texts[found.place],
                score=found.score,
                lexical=found.lexical,
                similarity=found.similarity,
                sentences=sentences[found.place],
            )
            for found in scored
            if found.place in texts
        ]

    async def _cosines(
        self, entry: Entry, vector: Vectors | None, ordinals: Sequence[int]
    ) -> Mapping[int, Sequence[float]]:
        if vector is None:
            return {}
        return await cosines_of_parts(self._tables, entry, vector, ordinals, self._embedding.fingerprint)

    async def _texts(self, entry: Entry, ordinals: Sequence[int]) -> Sequence[Chunk]:
        async def read(current: Entry) -> Sequence[Chunk]:
            if current.slot != entry.slot:
                return ()
            return await (await self._tables.chunks(entry.slot)).read(ordinals)

        return await self._with_document(entry.id, entry.tenant, read) or ()

    async def _with_document(
        self, document_id: str, tenant: str, work: Callable[[Entry], Awaitable[T]]
    ) -> T | None:
        """Do something with a document that another task or process may delete or replace meanwhile.

        Returns None when the tenant does not have it.

        Raises:
            DamagedDocument: it fails again with the tables opened anew.
        """
        failed = ""
        while (entry := await self._catalogue.find(tenant, document_id)) is not None:
            self._uses.touch(entry)
            try:
                return await work(entry)
            except LANCE_ERRORS as error:
                self._tables.forget(entry.slot)
                if entry.slot == failed:
                    self._catalogue.disown(entry.slot)
                    log.error("document_damaged", document=document_id, error=str(error))
                    raise DamagedDocument(document_id) from error
                failed = entry.slot
        return None


def _release_arrow() -> None:
    """Let Arrow give back what it keeps for tables to come: it has an allocator of its own."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _weighed(
    texts: Mapping[Place, Chunk], cosines: Mapping[Place, Sequence[float]], lexical: Lexical
) -> dict[Place, tuple[Sentence, ...]]:
    vocabulary = Vocabulary()
    return {
        place: weigh(chunk.text, cosines.get(place, ()), lexical.rarity, vocabulary)
        for place, chunk in texts.items()
    }
