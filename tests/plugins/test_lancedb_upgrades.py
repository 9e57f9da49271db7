"""What another version of OpenKimi stored: it is served, made anew, and never lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest

import openkimi_lancedb
from openkimi import BackendUnavailable, Chunk, Document, Query, Retriever
from openkimi.testing import HashingEmbedder, open_component
from openkimi_lancedb.catalogue import LAYOUT
from openkimi_lancedb.terms import Vocabulary

PROVIDER = next(iter(openkimi_lancedb.register_retrievers()))
TEXT = "\n\n".join(f"Paragraph {number} speaks of subject{number}." for number in range(30))
LONG_AGO = f"{'a' * 16}{int((time.time() - 86_400) * 1000):012x}{'b' * 8}"


def store(path: Path, embedder: HashingEmbedder | None = None, **options: Any) -> Any:
    return open_component(PROVIDER, embedder=embedder or HashingEmbedder(), path=str(path), **options)


def cut(text: str, at: str = "\n\n") -> list[Chunk]:
    chunks, start = list[Chunk](), 0
    for paragraph in text.split(at):
        end = start + len(paragraph)
        key = Chunk.key_of(paragraph, (), "t")
        chunks.append(Chunk(key=key, text=paragraph, start=start, end=end, ordinal=len(chunks)))
        start = end + len(at)
    return chunks


async def add(retriever: Retriever, fingerprint: str = "t", chunks: Sequence[Chunk] = (), **more: Any) -> str:
    document = Document.of(TEXT, **more)
    await retriever.add(document, chunks or cut(TEXT), fingerprint=fingerprint)
    return document.id


async def best(retriever: Retriever, question: str, document_id: str) -> str | None:
    hits = await retriever.search(Query(text=question, document_ids=(document_id,)))
    return hits[0].chunk.text if hits else None


async def change_catalogue(path: Path, **values: object) -> None:
    """Change all rows of the catalogue, as if another version had written them."""
    table = await (await lancedb.connect_async(str(path))).open_table("documents_2")
    await table.update(values)


def _of(path: Path, slot: str) -> list[Path]:
    return list(path.glob(f"*{slot}*"))


async def make_older(path: Path) -> None:
    """Put all tables back in time, so that a sweep would drop them."""
    database = await lancedb.connect_async(str(path))
    table = await database.open_table("documents_2")
    (slot,) = (await table.query().select(["slot"]).to_arrow())["slot"].to_pylist()
    for child in _of(path, slot):
        child.rename(child.with_name(child.name.replace(slot, LONG_AGO)))
    await table.update({"slot": LONG_AGO})


async def test_documents_with_other_terms_are_found_and_made_anew(tmp_path: Path) -> None:
    """A change of the rules for terms shows in ``outdated``; adding again makes new terms, vectors stay."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, name="book.txt", kept=True)
        created = [each.created for each in await retriever.list()]
    await change_catalogue(tmp_path, terms="terms-0")
    embedder = HashingEmbedder()

    async with store(tmp_path, embedder) as retriever:
        before = await best(retriever, "subject7", document_id)
        outdated = await retriever.outdated("t")
        await add(retriever)
        info = await retriever.get(document_id)
        again = [each.created for each in await retriever.list()]

        assert again == created
        assert before == "Paragraph 7 speaks of subject7."
        assert outdated == [("anonymous", document_id)]
        assert not await retriever.outdated("t")
        assert await retriever.outdated("another processor") == [("anonymous", document_id)]
        assert info is not None
        assert (info.name, info.kept, info.state) == ("book.txt", True, "ready")
        assert embedder.embedded == []
    assert len(_of(tmp_path, "chunks_")) == 1


class SlowEmbedder(HashingEmbedder):
    """Waits for its gate before it embeds passages."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    @property
    def fingerprint(self) -> str:
        return "slow"

    async def embed(self, texts: Sequence[str], *, input_type: Any = "document") -> Any:
        if input_type == "document":
            await self.gate.wait()
        return await super().embed(texts, input_type=input_type)


async def test_the_old_passages_answer_until_the_new_ones_have_vectors(tmp_path: Path) -> None:
    """Another processor's chunks take the place of those with vectors when they have theirs."""
    embedder = SlowEmbedder()
    embedder.gate.set()
    async with store(tmp_path, embedder, vector_wait=0) as retriever:
        document_id = await add(retriever, "f1")
        async with asyncio.timeout(10):
            while (await retriever.get(document_id)).state != "ready":
                await asyncio.sleep(0.01)
        embedder.gate.clear()
        adding = asyncio.create_task(add(retriever, "f2", cut(TEXT, "\n\nParagraph 1")))
        await asyncio.sleep(0.3)
        meanwhile = await best(retriever, "subject7", document_id)
        info = await retriever.get(document_id)
        embedder.gate.set()
        await adding
        new = await retriever.get(document_id)

    assert meanwhile == "Paragraph 7 speaks of subject7."
    assert (info.fingerprint, info.state) == ("f1", "ready")
    assert (new.fingerprint, new.state) == ("f2", "ready")


async def test_an_embedder_that_fails_keeps_no_document_old(tmp_path: Path) -> None:
    """New passages come without vectors when the embedder fails, rather than not at all."""
    embedder = SlowEmbedder()
    embedder.gate.set()
    async with store(tmp_path, embedder) as retriever:
        document_id = await add(retriever, "f1")
    broken = BrokenEmbedder("slow")
    async with store(tmp_path, broken, vector_wait=0) as retriever:
        await add(retriever, "f2", cut(TEXT, "\n\nParagraph 1"))
        info = await retriever.get(document_id)

    assert (info.fingerprint, info.state) == ("f2", "lexical")


class BrokenEmbedder(HashingEmbedder):
    """Cannot embed any passage."""

    def __init__(self, fingerprint: str = "broken") -> None:
        super().__init__()
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def embed(self, texts: Sequence[str], *, input_type: Any = "document") -> Any:
        if input_type == "document":
            raise BackendUnavailable("the embedding server is away")
        return await super().embed(texts, input_type=input_type)


async def test_old_vectors_stay_until_the_new_ones_are_complete(tmp_path: Path) -> None:
    """With another embedder a document is found by its words; going back finds the old vectors complete."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever)
    async with store(tmp_path, BrokenEmbedder(), vector_wait=0) as retriever:
        hits = await retriever.search(Query(text="subject7", document_ids=(document_id,)))
        between = await retriever.get(document_id)
    embedder = HashingEmbedder()
    async with store(tmp_path, embedder) as retriever:
        back = await retriever.get(document_id)

    assert (hits[0].chunk.ordinal, hits[0].similarity) == (7, None)
    assert (between.state, back.state) == ("lexical", "ready")
    assert embedder.embedded == []


@pytest.mark.parametrize("layout", [1, 99])
async def test_a_document_of_another_layout_is_left_alone(tmp_path: Path, layout: int) -> None:
    """What a version that is not known has stored is not shown, but neither its row nor its tables go."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, kept=True)
    await make_older(tmp_path)
    await change_catalogue(tmp_path, layout=layout)

    async with store(tmp_path) as retriever:
        hidden = await retriever.get(document_id)
    await change_catalogue(tmp_path, layout=LAYOUT)
    async with store(tmp_path) as retriever:
        found = await best(retriever, "subject7", document_id)

    assert hidden is None
    assert found == "Paragraph 7 speaks of subject7."


async def test_a_text_sent_again_leaves_the_other_layouts_document_alone(tmp_path: Path) -> None:
    """It is stored beside what the other version has, kept and named alike; deleting it deletes both."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, name="book.txt", kept=True)
    await make_older(tmp_path)
    await change_catalogue(tmp_path, layout=99)

    async with store(tmp_path) as retriever:
        await add(retriever)
        info = await retriever.get(document_id)
        left = len(_of(tmp_path, LONG_AGO))
        await retriever.delete(document_id)

    assert info is not None
    assert (info.name, info.kept, left) == ("book.txt", True, 2)
    assert not _of(tmp_path, "chunks_")


async def test_terms_as_layout_2_has_them_are_found_and_made_anew(tmp_path: Path) -> None:
    """Tables with terms joined by spaces answer alike, and are made anew from the text they hold."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, kept=True)
        query = Query(text="Which paragraph speaks of subject7?", document_ids=(document_id,))
        expected = [(hit.chunk.ordinal, hit.score) for hit in await retriever.search(query)]
    await _join_terms(tmp_path)
    await change_catalogue(tmp_path, layout=2)

    async with store(tmp_path) as retriever:
        found = [(hit.chunk.ordinal, hit.score) for hit in await retriever.search(query)]
        outdated = await retriever.outdated("t")
        text = await retriever.text(document_id)
        await add(retriever)
        left = await retriever.outdated("t")

    assert found == expected
    assert (outdated, left) == ([("anonymous", document_id)], [])
    assert text == TEXT


async def _join_terms(path: Path) -> None:
    """Write the table of chunks again as layout 2 had it."""
    database = await lancedb.connect_async(str(path))
    (name,) = [name for name in (await database.list_tables()).tables if name.startswith("chunks_")]
    rows = (await (await database.open_table(name)).query().to_arrow()).sort_by("ordinal")
    terms = [" ".join(Vocabulary().document_terms((), text)) for text in rows["text"].to_pylist()]
    rows = rows.drop_columns(["times", "terms"]).append_column("terms", pa.array(terms, pa.string()))
    await database.create_table(name, rows, mode="overwrite")


async def test_the_documents_of_a_newer_catalogue_are_left_alone(tmp_path: Path) -> None:
    """Going back to this version and forth again loses nothing of what the newer one has stored."""
    async with store(tmp_path) as retriever:
        await add(retriever, kept=True)
    await make_older(tmp_path)
    (tmp_path / "documents_2.lance").rename(tmp_path / "documents_3.lance")

    async with store(tmp_path) as retriever:
        listed = await retriever.list()

    assert not listed
    assert len(_of(tmp_path, LONG_AGO)) == 2


async def test_a_catalogue_without_newer_columns_is_read(tmp_path: Path) -> None:
    """A store of before sizes and uses were noted opens, even in two processes at once, and goes on."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever)
    table = await (await lancedb.connect_async(str(tmp_path))).open_table("documents_2")
    await table.drop_columns(["terms", "size", "used"])

    async with store(tmp_path) as one, store(tmp_path) as other:
        found = [await best(each, "subject7", document_id) for each in (one, other)]

        assert found == ["Paragraph 7 speaks of subject7."] * 2
        assert not await one.outdated("t")
