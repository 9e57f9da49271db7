"""Looks at a store without changing it: whether it opens and can be written, and the room that is left."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from openkimi import Finding
from openkimi_lancedb.options import LanceDBOptions
from openkimi_lancedb.tables import Tables

_CATALOGUE = "documents_2"
_SCARCE = 1 << 30
_SECONDS = 20.0


def diagnose_store(options: LanceDBOptions) -> Iterator[Finding]:
    """Look at the store that ``rag.path`` names."""
    what = "document memory"
    if not options.persist:
        yield Finding(what=what, says="a temporary directory, gone when the gateway stops")
        return
    if not options.is_remote:
        yield from _directory(what, Path(options.path).absolute())
        if not Path(options.path).is_dir():
            return
    try:
        count = asyncio.run(_documents(options))
    except Exception as error:  # noqa: BLE001 - LanceDB has no class of its own for what can go wrong
        says = f"{options.path} does not open: {' '.join(str(error).split())[:200]}"
        remedy = "look at rag.path and rag.storage_options; a store of a newer version needs that version"
        yield Finding(what=what, state="broken", says=says, remedy=remedy)
    else:
        yield Finding(what=what, says=f"{options.path} opens, {count} documents")


def _directory(what: str, path: Path) -> Iterator[Finding]:
    """Look at the directory, or at that in which it will be made."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = "set rag.path to a directory that this user may write"
        yield Finding(what=what, state="broken", says=f"{there} cannot be written", remedy=remedy)
        return
    if there != path:
        yield Finding(what=what, says=f"{path} is made at the first start")
    free = shutil.disk_usage(there).free
    says = f"{free / (1 << 30):.1f} GiB free at {there}"
    if free >= _SCARCE:
        yield Finding(what="room for documents", says=says)
    else:
        remedy = "make room, or move rag.path; 1,000,000 tokens of text take about 51 MB"
        yield Finding(what="room for documents", state="warning", says=says, remedy=remedy)


async def _documents(options: LanceDBOptions) -> int:
    """Open the catalogue and count its rows."""
    import lancedb

    secrets = {name: secret.reveal() for name, secret in options.storage_options.items()}
    async with asyncio.timeout(_SECONDS):
        database = await lancedb.connect_async(
            options.path, storage_options=secrets or None, read_consistency_interval=timedelta(0)
        )
        if _CATALOGUE not in await Tables(database).names():
            return 0
        table = await database.open_table(_CATALOGUE)
        count: int = await table.count_rows()
        return count
