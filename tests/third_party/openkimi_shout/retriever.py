"""A document memory in a dictionary, searched by the words that question and passage share."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from openkimi import (
    ANONYMOUS,
    Chunk,
    Document,
    DocumentInfo,
    DocumentNotFound,
    Hit,
    NoOptions,
    OpenContext,
    Query,
    Retriever,
)

_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")


def words(text: str) -> frozenset[str]:
    """Split a text into its different words; a Chinese character is a word."""
    return frozenset(_WORD.findall(text.casefold()))


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    info: DocumentInfo
    chunks: tuple[Chunk, ...]
    text: str


class MemoryRetriever(Retriever):
    """Keeps each tenant's documents in the process and ranks passages by shared words."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], _Stored] = {}

    async def add(
        self, document: Document, chunks: Sequence[Chunk], *, fingerprint: str, tenant: str = ANONYMOUS
    ) -> None:
        """Store a document, ready at once since it has no vectors; being kept and a name are not lost."""
        known = await self.get(document.id, tenant=tenant)
        info = DocumentInfo(
            id=document.id,
            state="ready",
            fingerprint=fingerprint,
            characters=len(document.text),
            chunks=len(chunks),
            created=time.time(),
            name=document.name or (known.name if known else None),
            kept=document.kept or (known is not None and known.kept),
        )
        stored = _Stored(info=info, chunks=tuple(chunks), text=document.text)
        self._stored[tenant, document.id] = stored

    async def get(self, document_id: str, *, tenant: str = ANONYMOUS) -> DocumentInfo | None:
        """Tell what is known of a document."""
        stored = self._stored.get((tenant, document_id))
        return stored.info if stored else None

    async def list(self, *, tenant: str = ANONYMOUS) -> Sequence[DocumentInfo]:
        """List the tenant's documents, oldest first."""
        return [stored.info for (owner, _), stored in self._stored.items() if owner == tenant]

    async def read(
        self, document_id: str, *, tenant: str = ANONYMOUS, ordinals: Sequence[int] | None = None
    ) -> Sequence[Chunk]:
        """Read a document's chunks in order."""
        stored = self._find(document_id, tenant)
        return [chunk for chunk in stored.chunks if ordinals is None or chunk.ordinal in ordinals]

    async def text(self, document_id: str, *, tenant: str = ANONYMOUS) -> str:
        """Return a document's text."""
        return self._find(document_id, tenant).text

    async def search(self, query: Query) -> Sequence[Hit]:
        """Find the chunks that share the most words with the question."""
        wanted = words(query.text)
        hits = [
            Hit(document_id=document_id, chunk=chunk, score=float(shared), lexical=float(shared))
            for document_id in dict.fromkeys(query.document_ids)
            if (stored := self._stored.get((query.tenant, document_id)))
            for chunk in stored.chunks
            if (shared := len(wanted & words(chunk.text)))
        ]
        return sorted(hits, key=lambda hit: -hit.score)[: query.limit]

    async def delete(self, document_id: str, *, tenant: str = ANONYMOUS) -> bool:
        """Forget a document."""
        return self._stored.pop((tenant, document_id), None) is not None

    def _find(self, document_id: str, tenant: str) -> _Stored:
        stored = self._stored.get((tenant, document_id))
        if stored is None:
            raise DocumentNotFound(f"no document '{document_id}'", param="openkimi.documents")
        return stored


@asynccontextmanager
async def open_memory(options: NoOptions, context: OpenContext) -> AsyncIterator[MemoryRetriever]:
    """Open an empty memory."""
    yield MemoryRetriever()
