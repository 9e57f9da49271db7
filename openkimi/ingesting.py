"""The command ``openkimi ingest``: files into the document memory, without the model."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import click

from openkimi.assembly import open_memory
from openkimi.config import Config, build_config, read_config
from openkimi.contracts import Embedder, Vectors
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
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=90.0,
    metavar="SECONDS",
    help="Stop waiting when nothing was embedded for so long.  [default: 90]",
)
def ingest(
    files: tuple[str, ...], config: str | None, tenant: str | None, wait: bool, timeout: float
) -> None:
    """Store files in the document memory of the config, for requests that name their ids.

    FILE is a text, Markdown, HTML, PDF or DOCX file, a pattern like 'books/**/*.md', or - for standard
    input. Printed are each document's id, state and name. A file that is not there or cannot be read is told
    and passed over, and so are vectors that do not get made; the status is 1 then.
    """
    configure_logging("warning")
    path = config_path(config)
    checked = build_config(read_config(path) if path else {})
    if getattr(checked.retriever.options, "persist", True) is False:
        raise ConfigError("rag.persist: false keeps nothing after this command; set it to true to ingest")
    owner = tenant_of(checked.server, tenant)
    found, failed = _found(files)
    if found:
        failed += asyncio.run(_ingest(checked, found, owner, timeout if wait else None))
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


async def _ingest(config: Config, files: Sequence[Path | None], tenant: str, timeout: float | None) -> int:
    """Store files, print what became of them, and return with how many something went wrong.

    Without a ``timeout`` nobody waits for vectors.
    """
    stored: list[DocumentInfo] = []
    activity = _Activity()
    async with AsyncExitStack() as stack:
        memory = await open_memory(config, stack, lambda embedder: _Watched(embedder, activity))
        async with _bar(len(files) * (1 if timeout is None else 2)) as bar:
            converter = Converter()
            for file in files:
                try:
                    stored.append(await _store(memory, file, converter, tenant))
                except (RequestError, StorageFull) as error:
                    click.echo(f"openkimi: {error.message}", err=True)
                bar.update(1)
            failed = len(files) - len(stored)
            if timeout is not None:
                bar.update(failed)
                activity.note()
                for at, info in enumerate(stored):
                    stored[at] = await _ready(memory, info, tenant, activity, timeout)
                    bar.update(1)
    return failed + _print(list({info.id: info for info in stored}.values()), timeout)


def _print(documents: Sequence[DocumentInfo], timeout: float | None) -> int:
    """Print what became of the documents, and return how many lack the vectors that were waited for."""
    for info in documents:
        click.echo("\t".join(filter(None, (info.id, info.state, info.name))))
    if timeout is None or all(info.state == "ready" for info in documents):
        return 0
    lacking = sum(info.state != "ready" for info in documents)
    click.echo(
        f"openkimi: {lacking} of {len(documents)} documents lack vectors, and nothing was embedded for "
        f"{timeout:g} seconds: they are found by their words; see to the embedder and ingest them again",
        err=True,
    )
    return lacking


async def _store(memory: Memory, file: Path | None, converter: Converter, tenant: str) -> DocumentInfo:
    read = await read_text(file, converter)
    document = Document.of(read.text, name=read.name, kept=True)
    await memory.remember(document, tenant)
    return await _known(memory, document.id, tenant)


async def _ready(
    memory: Memory, info: DocumentInfo, tenant: str, activity: _Activity, timeout: float
) -> DocumentInfo:
    """Wait until a document's vectors are complete, or nothing was embedded for too long."""
    info = await _known(memory, info.id, tenant)
    while info.state != "ready" and activity.seconds_ago < timeout:
        await asyncio.sleep(_LOOK_SECONDS)
        info = await _known(memory, info.id, tenant)
    return info


class _Activity:
    """When something was embedded last."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def note(self) -> None:
        self._last = time.monotonic()

    @property
    def seconds_ago(self) -> float:
        return time.monotonic() - self._last


class _Watched(Embedder):
    """Embeds as another embedder does, and notes when it could."""

    def __init__(self, embedder: Embedder, activity: _Activity) -> None:
        self._embedder = embedder
        self._activity = activity

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        vectors = await self._embedder.embed(texts, input_type=input_type)
        self._activity.note()
        return vectors

    async def trim(self) -> None:
        await self._embedder.trim()


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
