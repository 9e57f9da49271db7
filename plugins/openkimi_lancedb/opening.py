"""Opens the store: the directory, the connection, what a killed process left behind."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from openkimi import OpenContext, PluginError, Retriever, StorageError
from openkimi_lancedb.catalogue import Catalogue
from openkimi_lancedb.embedding import Embedding
from openkimi_lancedb.evicting import Evicting, Uses
from openkimi_lancedb.failures import storage_errors
from openkimi_lancedb.filling import Filling
from openkimi_lancedb.options import LanceDBOptions
from openkimi_lancedb.retriever import LanceDBRetriever
from openkimi_lancedb.storing import Storing
from openkimi_lancedb.tables import Tables
from openkimi_lancedb.temporary import temporary_directory

if TYPE_CHECKING:
    from lancedb import AsyncConnection

log = structlog.get_logger()

_UPKEEP_EVERY = 60.0
_INDEX_CACHE = 256 * 1024 * 1024
_METADATA_CACHE = 64 * 1024 * 1024


@asynccontextmanager
async def open_retriever(options: LanceDBOptions, context: OpenContext) -> AsyncIterator[Retriever]:
    """Open the store, go on with what was left undone, and close it.

    Raises:
        StorageError: the directory or the object storage cannot be used.
    """
    embedding = Embedding(context.embedder)
    async with _place(options) as place, _connection(place, options) as database:
        tables, catalogue = Tables(database), await Catalogue.open(database)
        filling, uses = Filling(tables, catalogue, embedding), Uses(catalogue)
        storing = Storing(
            tables,
            catalogue,
            filling,
            Evicting(catalogue, uses, options.most_bytes),
            embedder=embedding.fingerprint,
            vector_wait=options.vector_wait,
        )
        try:
            await storing.sweep()
            storing.resume(await catalogue.entries())
            async with _upkeep(storing, uses):
                yield LanceDBRetriever(
                    tables=tables,
                    catalogue=catalogue,
                    embedding=embedding,
                    storing=storing,
                    uses=uses,
                    rrf_k=options.rrf_k,
                )
        finally:
            await storing.close()
            await filling.close()


@asynccontextmanager
async def _upkeep(storing: Storing, uses: Uses) -> AsyncIterator[None]:
    """Once a minute and at the end, note what was used; once a minute keep the store under its size."""

    async def note() -> None:
        try:
            await uses.write()
        except StorageError as error:
            log.warning("uses_not_noted", error=error.message)

    async def keep_up() -> None:
        while True:
            await asyncio.sleep(_UPKEEP_EVERY)
            await note()
            try:
                await storing.make_room()
            except StorageError as error:
                log.warning("no_room_made", error=error.message)

    task = asyncio.create_task(keep_up())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await note()


@asynccontextmanager
async def _place(options: LanceDBOptions) -> AsyncIterator[str]:
    """Give the address of the store; a directory that is not to be kept is removed at the end."""
    if not options.persist:
        with ExitStack() as stack:
            yield str(await asyncio.to_thread(stack.enter_context, temporary_directory()))
    elif options.is_remote:
        yield options.path
    else:
        yield await asyncio.to_thread(_private_directory, Path(options.path))


def _private_directory(path: Path) -> str:
    """Make a directory that only its owner may read, unless it is there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"document memory: cannot make the directory {path} ({error.strerror}); set rag.path to one that "
            "this user may write"
        ) from error
    return str(path.absolute())


@asynccontextmanager
async def _connection(place: str, options: LanceDBOptions) -> AsyncIterator[AsyncConnection]:
    try:
        lancedb = await asyncio.to_thread(importlib.import_module, "lancedb")
    except ImportError as error:
        raise PluginError(f"the kind 'lancedb' needs LanceDB ({error}): pip install lancedb") from error
    secrets = {name: secret.reveal() for name, secret in options.storage_options.items()}
    session = lancedb.Session(index_cache_size_bytes=_INDEX_CACHE, metadata_cache_size_bytes=_METADATA_CACHE)
    with storage_errors(f"cannot connect to {place}"):
        database = await lancedb.connect_async(
            place,
            storage_options=secrets if options.persist and options.is_remote else None,
            session=session,
        )
    try:
        yield database
    finally:
        database.close()
