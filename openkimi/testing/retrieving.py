"""A document memory in a dictionary, that ranks by the words a passage shares with the question."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from openkimi.contracts import Retriever
from openkimi.documents import ANONYMOUS, Chunk, Document, DocumentInfo, Hit, Query
from openkimi.errors import DocumentNotFound

_TERM = re.compile(r"[a-z0-9]+|[^\x00-\x7f]")


class InMemoryRetriever(Retriever):
    """Keeps everything in memory and forgets it at the end; ``added`` lists what was added, in order."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], tuple[DocumentInfo, tuple[Chunk, ...], str]] = {}
        self.added: list[str] = []

    async def add(
        self, document: Document, chunks: Sequence[Chunk], *, fingerprint: str, tenant: str = ANONYMOUS
    ) -> None:
        """Store a document's chunks, in place of those it had."""
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
        self._documents[tenant, document.id] = (info, tuple(chunks), document.text)
        self.added.append(document.id)

    async def get(self, document_id: str, *, tenant: str = ANONYMOUS) -> DocumentInfo | None:
        """Tell what is known of a document."""
        known = self._documents.get((tenant, document_id))
        return known[0] if known else None

    async def list(self, *, tenant: str = ANONYMOUS) -> Sequence[DocumentInfo]:
        """List the tenant's documents, oldest first."""
        return [info for (owner, _), (info, _, _) in self._documents.items() if owner == tenant]

    async def read(
        self, document_id: str, *, tenant: str = ANONYMOUS, ordinals: Sequence[int] | None = None
    ) -> Sequence[Chunk]:
        """Read a document's chunks in order."""
        _, chunks, _ = self._known(document_id, tenant)
        return [chunk for chunk in chunks if ordinals is None or chunk.ordinal in ordinals]

    async def text(self, document_id: str, *, tenant: str = ANONYMOUS) -> str:
        """Return a document's text."""
        return self._known(document_id, tenant)[2]

    async def search(self, query: Query) -> Sequence[Hit]:
        """Rank the chunks by how many different terms they share with the question."""
        wanted = set(_TERM.findall(query.text.lower()))
        hits = [
            Hit(document_id=document_id, chunk=chunk, score=shared, lexical=shared)
            for document_id in dict.fromkeys(query.document_ids)
            if (query.tenant, document_id) in self._documents
            for chunk in self._documents[query.tenant, document_id][1]
            if (shared := float(len(wanted & set(_TERM.findall(chunk.text.lower())))))
        ]
        hits.sort(key=lambda hit: (-hit.score, -hit.chunk.density, hit.document_id, hit.chunk.ordinal))
        return hits[: query.limit]

    async def delete(self, document_id: str, *, tenant: str = ANONYMOUS) -> bool:
        """Forget a tenant's document."""
        return self._documents.pop((tenant, document_id), None) is not None

    async def outdated(self, fingerprint: str) -> Sequence[tuple[str, str]]:
        """List the documents that were added under another fingerprint."""
        return [key for key, (info, _, _) in self._documents.items() if info.fingerprint != fingerprint]

    def _known(self, document_id: str, tenant: str) -> tuple[DocumentInfo, tuple[Chunk, ...], str]:
        if (tenant, document_id) not in self._documents:
            raise DocumentNotFound(f"there is no stored document '{document_id}'")
        return self._documents[tenant, document_id]
