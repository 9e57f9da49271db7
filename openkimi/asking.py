"""The command ``openkimi ask``: an answer from files, in the shell."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from contextlib import aclosing

import click

from openkimi.documents import DocumentInfo
from openkimi.engine import KimiEngine
from openkimi.errors import DocumentNotFound
from openkimi.files.converting import Converter
from openkimi.files.reading import is_file, matching
from openkimi.logs import configure_logging
from openkimi.messages import Delta, GenerateRequest, Message
from openkimi.receipt import Receipt
from openkimi.shell import config_option, config_path, files_of, read_text, tenant_of, tenant_option
from openkimi.turn import Ask

_ID = re.compile(r"doc_[0-9a-f]{32}")
_ID_LIKE = re.compile(r"doc_\w+")
_SHOWN = 160


@click.command()
@click.argument("documents", metavar="[FILE]...", nargs=-1)
@click.argument("question")
@config_option
@tenant_option
@click.option(
    "--sources/--no-sources", default=None, help="List the passages that were read.  [default: on a terminal]"
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1), help="The most tokens of the answer.")
def ask(
    documents: tuple[str, ...],
    question: str,
    config: str | None,
    tenant: str | None,
    sources: bool | None,
    temperature: float,
    max_tokens: int | None,
) -> None:
    """Answer QUESTION from files with the model of the config, and say which passages it read.

    FILE is a text, Markdown, HTML, PDF or DOCX file, a pattern, - for standard input, or the id of a stored
    document. Without one, only what the config preloads is read.
    """
    _refuse_no_question(question)
    configure_logging("warning")
    engine = KimiEngine(config_path(config))
    request = GenerateRequest(
        messages=(Message(role="user", content=question),),
        temperature=temperature,
        max_tokens=max_tokens,
        limited=max_tokens is not None,
    )
    owner = tenant_of(engine.config.server, tenant)
    shown = sys.stdout.isatty() if sources is None else sources
    asyncio.run(_ask(engine, documents, Ask(request=request, tenant=owner), sources=shown))


def _refuse_no_question(question: str) -> None:
    """Refuse a question that is blank, or that names what is to be asked."""
    if not question.strip():
        raise click.UsageError("the question is blank: it comes last, in quotes")
    if is_file(question) or _ID.fullmatch(question):
        what = "a file" if is_file(question) else "a document's id"
        raise click.UsageError(f"'{question}' is {what}: the question is missing, which comes last")


async def _ask(engine: KimiEngine, documents: Sequence[str], ask: Ask, *, sources: bool) -> None:
    async with engine:
        named = await _documents(engine, documents, ask.tenant)
        ids = tuple(info.id for info in named) if documents else None
        receipt = await _answer(engine, Ask(request=ask.request, tenant=ask.tenant, documents=ids))
        if sources and receipt is not None:
            await _show_sources(engine, receipt, ask.tenant)


async def _documents(engine: KimiEngine, documents: Sequence[str], tenant: str) -> list[DocumentInfo]:
    """Look up the documents that are named by their ids, and store the files."""
    found, converter = [], Converter()
    for document in documents:
        if _ID.fullmatch(document):
            found.append(await engine.document(document, tenant))
            continue
        if _ID_LIKE.fullmatch(document) and not matching(document):
            raise DocumentNotFound(f"there is no stored document '{document}', and no such file")
        for file in files_of(document):
            read = await read_text(file, converter)
            found.append(await engine.store(read.text, name=read.name, tenant=tenant, kept=False))
    return found


async def _answer(engine: KimiEngine, ask: Ask) -> Receipt | None:
    """Print an answer while it is written."""
    receipt = None
    async with aclosing(engine.answer(ask)) as events:
        async for event in events:
            if isinstance(event, Receipt):
                receipt = event
            elif isinstance(event, Delta) and event.content:
                click.echo(event.content, nl=False)
    click.echo()
    return receipt


async def _show_sources(engine: KimiEngine, receipt: Receipt, tenant: str) -> None:
    click.echo("\nRead:")
    stored = [passage for passage in receipt.passages if passage.message is None]
    for document_id in dict.fromkeys(passage.document for passage in stored):
        info = await engine.document(document_id, tenant)
        text = await engine.document_text(document_id, tenant)
        for passage in stored:
            if passage.document == document_id:
                quoted = " ".join(text[passage.start : passage.end].split())
                quoted = quoted if len(quoted) <= _SHOWN else f"{quoted[:_SHOWN]}…"
                click.echo(f"  {info.name or info.id} {passage.start}-{passage.end}: {quoted}")
    if not stored:
        click.echo("  nothing of the documents")
