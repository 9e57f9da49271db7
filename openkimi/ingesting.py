"""The command ``openkimi ingest``: files into the document memory, without the model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import click

from openkimi.assembly import open_memory
from openkimi.config import Config, build_config, read_config
from openkimi.documents import Document, DocumentInfo
from openkimi.errors import ConfigError, RequestError, StorageError, StorageFull
from openkimi.files.converting import Converter
from openkimi.logs import configure_logging
from openkimi.memory import Memory
from openkimi.shell import config_option, config_path, files_of, read_text, tenant_of, tenant_option

_LOOK_SECONDS = 0.2


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@config_option
@tenant_option
@click.option("--wait/--no-wait", default=True, help="Wait until the vectors are complete.  [default: wait]")
def ingest(files: tuple[str, ...], config: str | None, tenant: str | None, wait: bool) -> None:
    """Store files in the document memory of the config, for requests that name their ids.

    FILE is a text, Markdown, HTML, PDF or DOCX file, a pattern like 'books/**/*.md', or - for standard
    input. Printed are each document's id, state and name. A file that is not there or cannot be read is told
    and passed over; the status is 1 then.
    """
    configure_logging("warning")
    path = config_path(config)
    checked = build_config(read_config(path) if path else {})
    if getattr(checked.retriever.options, "persist", True) is False:
        raise ConfigError("rag.persist: false keeps nothing after this command; set it to true to ingest")
    owner = tenant_of(checked.server, tenant)
    found, failed = _found(files)
    if found:
        failed += asyncio.run(_ingest(checked, found, owner, wait=wait))
    sys.exit(1 if failed else 0)


def _found(patterns: Sequence[str]) -> tuple[list[Path | None], int]:
    """List the files of names and patterns, without repeats, tell what names none, and count that."""
    files: dict[Path | None, None] = {}
    failed = 0
    for pattern in patterns:
        try:
            files.update(dict.fromkeys(files_of(pattern)))
        except RequestError as error:
            click.echo(f"openkimi: {error.message}", err=True)
            failed += 1
    return list(files), failed


async def _ingest(config: Config, files: Sequence[Path | None], tenant: str, *, wait: bool) -> int:
    """Store files, print what became of them, and return how many could not be read."""
    stored: list[DocumentInfo] = []
    async with AsyncExitStack() as stack:
        memory = await open_memory(config, stack)
        async with _bar(len(files) * (2 if wait else 1)) as bar:
            converter = Converter()
            for file in files:
                try:
                    stored.append(await _store(memory, file, converter, tenant))
                except (RequestError, StorageFull) as error:
                    click.echo(f"openkimi: {error.message}", err=True)
                bar.update(1)
            failed = len(files) - len(stored)
            if wait:
                bar.update(failed)
                for at, info in enumerate(stored):
                    stored[at] = await _ready(memory, info, tenant)
                    bar.update(1)
    for info in {info.id: info for info in stored}.values():
        click.echo("\t".join(filter(None, (info.id, info.state, info.name))))
    return failed


async def _store(memory: Memory, file: Path | None, converter: Converter, tenant: str) -> DocumentInfo:
    read = await read_text(file, converter)
    document = Document.of(read.text, name=read.name, kept=True)
    await memory.remember(document, tenant)
    return await _known(memory, document.id, tenant)


async def _ready(memory: Memory, info: DocumentInfo, tenant: str) -> DocumentInfo:
    """Wait until a document's vectors are complete."""
    while info.state != "ready":
        await asyncio.sleep(_LOOK_SECONDS)
        info = await _known(memory, info.id, tenant)
    return info


async def _known(memory: Memory, document_id: str, tenant: str) -> DocumentInfo:
    info = await memory.get(document_id, tenant)
    if info is None:
        raise StorageError(f"document memory: the document '{document_id}' was deleted meanwhile")
    return info


@asynccontextmanager
async def _bar(length: int) -> AsyncIterator[Any]:
    """Show progress on a terminal: a step for each document found by its words, one when by its meaning."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label="Storing", file=sys.stderr, hidden=hidden) as bar:
        yield bar
