"""A plugin with an embedder and a document memory that load nothing, to try other components with.

``KimiEngine(rag_config={"type": "in-memory", "embedding_model": "hashing"}, plugins=[fakes])`` uses them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi.contracts import Embedder, Retriever
from openkimi.hookspecs import hookimpl
from openkimi.providers import NoOptions, OpenContext, Provider
from openkimi.testing.embedding import HashingEmbedder
from openkimi.testing.retrieving import InMemoryRetriever


@asynccontextmanager
async def open_hashing(options: NoOptions, context: OpenContext) -> AsyncIterator[HashingEmbedder]:
    """Open the embedder ``hashing``."""
    yield HashingEmbedder()


@asynccontextmanager
async def open_in_memory(options: NoOptions, context: OpenContext) -> AsyncIterator[InMemoryRetriever]:
    """Open the retriever ``in-memory``."""
    yield InMemoryRetriever()


@hookimpl
def register_embedders() -> Iterable[Provider[Embedder]]:
    """Offer the kind ``hashing``."""
    return [Provider("hashing", open_hashing, description="Texts that share words are near each other.")]


@hookimpl
def register_retrievers() -> Iterable[Provider[Retriever]]:
    """Offer the kind ``in-memory``."""
    return [Provider("in-memory", open_in_memory, description="Keeps documents until it is closed.")]
