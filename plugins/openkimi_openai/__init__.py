"""The kinds ``openai`` (alias ``api``): models and embeddings behind any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi import Backend, Embedder, OpenContext, Provider, hookimpl
from openkimi_openai.address import check
from openkimi_openai.backend import OpenAIBackend
from openkimi_openai.client import open_client
from openkimi_openai.embedder import OpenAIEmbedder
from openkimi_openai.options import CharactersPerToken, OpenAIEmbedderOptions, OpenAIOptions

__all__ = ["CharactersPerToken", "OpenAIBackend", "OpenAIEmbedder", "OpenAIEmbedderOptions", "OpenAIOptions"]


@asynccontextmanager
async def open_backend(options: OpenAIOptions, context: OpenContext) -> AsyncIterator[OpenAIBackend]:
    """Open the session that answers are streamed over; nobody is called yet."""
    async with open_client(options, section="llm") as client:
        yield OpenAIBackend(client, options)


@asynccontextmanager
async def open_embedder(
    options: OpenAIEmbedderOptions, context: OpenContext
) -> AsyncIterator[OpenAIEmbedder]:
    """Open the session and ask for the length of the vectors where it is not configured."""
    async with open_client(options, section="embedder") as client:
        embedder = OpenAIEmbedder(client, options)
        await embedder.probe()
        yield embedder


@hookimpl
def register_backends() -> Iterable[Provider[Backend]]:
    """Offer the kind ``openai``."""
    yield Provider(
        "openai",
        open_backend,
        OpenAIOptions,
        aliases=("api",),
        description="A model behind an OpenAI-compatible server.",
        check=check,
    )


@hookimpl
def register_embedders() -> Iterable[Provider[Embedder]]:
    """Offer the kind ``openai``."""
    yield Provider(
        "openai",
        open_embedder,
        OpenAIEmbedderOptions,
        aliases=("api",),
        description="An embedding model behind an OpenAI-compatible server.",
        check=check,
    )
