"""The vectors of a document: in memory, on disk, and while they are being made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import lancedb
import numpy as np
import pytest

import openkimi_lancedb
from openkimi import Chunk, Document, Query, Vectors
from openkimi.testing import HashingEmbedder, open_component
from openkimi_lancedb.matrix import Matrices
from openkimi_lancedb.parts import likeness
from openkimi_lancedb.retriever import LanceDBRetriever
from openkimi_lancedb.vectortable import VectorTable

PROVIDER = next(iter(openkimi_lancedb.register_retrievers()))
DIMENSIONS = 32
SENTENCE = "The {} committee of harbour number {} approved a budget and thanked its members for all the work."


def chunk(ordinal: int, text: str = "") -> Chunk:
    text = text or f"passage {ordinal}"
    return Chunk(key=Chunk.key_of(text, (), "t"), text=text, start=0, end=len(text), ordinal=ordinal)


def rows(count: int, seed: int) -> Vectors:
    found = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def files(path: Path) -> list[Path]:
    """List the files with vectors."""
    return list(path.glob("vectors*/data/*.lance"))


async def grown(path: Path, matrices: Matrices) -> tuple[VectorTable, dict[int, Vectors], list[VectorTable]]:
    """Write wholes, then sentences of most, some rows twice; tables opened at each step read on the way."""
    database = await lancedb.connect_async(str(path))
    chunks, opened = [chunk(number) for number in range(30)], []
    parts = {each.ordinal: rows(1 + each.ordinal % 4, each.ordinal) for each in chunks}
    table = await VectorTable.create(database, "vectors", DIMENSIONS)
    for some, first in ((chunks[20:], 0), (chunks[:25], 0), (chunks[:15], 1), (chunks[15:], 1)):
        vectors = {each.key: parts[each.ordinal][first : None if first else 1] for each in some}
        await table.append(some, vectors, first)
        opened.append(await VectorTable.open(database, "vectors", matrices))
        await opened[-1].nearest(rows(1, 99)[0], 5, [])
    await table.compact()
    return await VectorTable.open(database, "vectors", matrices), parts, opened


@pytest.mark.parametrize("most_bytes", [10**6, 0], ids=["in memory", "too many for it"])
async def test_the_nearest_are_told_whether_in_memory_or_not(tmp_path: Path, most_bytes: int) -> None:
    """Likenesses are those of all parts of each chunk, however the table grew, to the second decimal."""
    table, parts, _ = await grown(tmp_path, Matrices(most_bytes))
    question = rows(1, 99)[0]
    expected = {
        ordinal: likeness([float(part @ question) for part in each]) for ordinal, each in parts.items()
    }

    found, near = await table.nearest(question, 30, [3, 29, 77])

    assert found == pytest.approx(expected, abs=0.005)
    assert near.keys() == expected.keys()


async def test_only_the_nearest_and_the_named_are_told(tmp_path: Path) -> None:
    """The limit holds for the nearest; others are told by name, unless they have no vector."""
    table, parts, _ = await grown(tmp_path, Matrices())
    question = parts[7][0]

    found, near = await table.nearest(question, 2, [3, 77])

    assert next(iter(near)) == 7
    assert len(near) == 2
    assert found.keys() == near.keys() | {3}


async def test_compacting_leaves_few_files_and_all_rows(tmp_path: Path) -> None:
    """A complete table is one file of rows, read as before; what was read earlier is not read again."""
    matrices = Matrices()
    table, parts, _ = await grown(tmp_path, matrices)
    wholes, sentences = await table.present(0), await table.present(1)
    await table.nearest(rows(1, 99)[0], 1, [])
    known = matrices.get("vectors")

    assert wholes == parts.keys()
    assert sentences == {ordinal for ordinal, each in parts.items() if len(each) > 1}
    assert len(files(tmp_path)) == 1
    assert known is not None
    assert known.read == len(wholes) + 5 + sum(len(each) - 1 for each in parts.values())


def test_memory_for_vectors_is_bounded() -> None:
    """The matrices that were not used for longest go when there are too many bytes."""
    import pyarrow as pa

    from openkimi_lancedb.matrix import Matrix

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows(10, 1).ravel(), pa.float16()), DIMENSIONS)
    table = pa.table(
        {
            "ordinal": pa.array(range(10), pa.int32()),
            "part": pa.array([0] * 10, pa.int16()),
            "vector": vectors,
        }
    )
    matrix = Matrix.of(table, 1)
    matrices = Matrices(2 * matrix.size)

    for name in ("a", "b"):
        matrices.keep(name, matrix)
    matrices.get("a")
    matrices.keep("c", matrix)

    assert [matrices.get(name) is None for name in "abc"] == [False, True, False]


async def test_a_trim_leaves_nothing_of_documents_in_memory(tmp_path: Path) -> None:
    """Vectors, terms and what was embedded last go, and are read again when they are needed."""
    document = Document.of("passage one\n\npassage two")
    chunks = [chunk(number, paragraph) for number, paragraph in enumerate(document.text.split("\n\n"))]
    query = Query(text="passage one", document_ids=(document.id,))
    async with open_component(PROVIDER, embedder=HashingEmbedder(), path=str(tmp_path)) as store:
        assert isinstance(store, LanceDBRetriever)
        await store.add(document, chunks, fingerprint="t")
        hits = await store.search(query)
        tables, embedding = store._tables, store._embedding
        assert tables._open
        await store.trim()

        kept = (tables._open, tables._bytes, tables._matrices._kept, embedding._made._kept)
        assert not any(kept)
        assert await store.search(query) == hits
        assert tables._bytes > 0


class UnhurriedEmbedder(HashingEmbedder):
    """Takes a while for each call, as those do that compute something."""

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        await asyncio.sleep(0.01)
        return await super().embed(texts, input_type=input_type)

    @property
    def fingerprint(self) -> str:
        return "unhurried"


async def test_two_processes_share_the_work_on_vectors(tmp_path: Path) -> None:
    """Two stores that find the same document without vectors do not make all of them twice."""
    text = "\n\n".join(f"passage {number}" for number in range(6000))
    document, embedders = Document.of(text), (UnhurriedEmbedder(), UnhurriedEmbedder())
    chunks = [chunk(number, paragraph) for number, paragraph in enumerate(text.split("\n\n"))]
    async with open_component(PROVIDER, embedder=HashingEmbedder(), path=str(tmp_path), vector_wait=0) as one:
        await one.add(document, chunks, fingerprint="t")
    one, two = (open_component(PROVIDER, embedder=each, path=str(tmp_path)) for each in embedders)
    async with one as here, two as there, asyncio.timeout(60):
        for store in (here, there):
            while (info := await store.get(document.id)) is None or info.state != "ready":
                await asyncio.sleep(0.05)
        hits = await there.search(Query(text="passage 77", document_ids=(document.id,)))

    assert hits[0].chunk.ordinal == 77
    assert 6000 <= sum(len(each.embedded) for each in embedders) < 9000


async def test_documents_that_are_alike_share_vectors_that_are_being_made(tmp_path: Path) -> None:
    """Versions of a text that come one after the other cost what differs, before any has its vectors."""
    embedder, ids = UnhurriedEmbedder(), list[str]()
    async with open_component(PROVIDER, embedder=embedder, path=str(tmp_path), vector_wait=0) as store:
        for version in range(4):
            paragraphs = [f"passage {number}" for number in range(1000)] + [f"edition {version}"]
            document = Document.of("\n\n".join(paragraphs))
            chunks = [chunk(number, paragraph) for number, paragraph in enumerate(paragraphs)]
            await store.add(document, chunks, fingerprint="t")
            ids.append(document.id)
        async with asyncio.timeout(60):
            for document_id in ids:
                while (info := await store.get(document_id)) is None or info.state != "ready":
                    await asyncio.sleep(0.02)

    assert 1004 <= len(embedder.embedded) < 2000


class HeldEmbedder(HashingEmbedder):
    """Notes what is asked of it; sentences wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.wholes = 0

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        if input_type == "document":
            if not all(text.count("committee") > 1 for text in texts):
                await self.gate.wait()
            self.wholes += len(texts)
        return await super().embed(texts, input_type=input_type)


async def test_whole_passages_get_their_vectors_first(tmp_path: Path) -> None:
    """Once wholes have vectors every passage is found by its meaning, and none is embedded for a question."""
    text = "\n\n".join(
        " ".join(SENTENCE.format(kind, number) for kind in ("road", "music", "water")) for number in range(40)
    )
    chunks = [chunk(number, paragraph) for number, paragraph in enumerate(text.split("\n\n"))]
    document, embedder = Document.of(text), HeldEmbedder()
    async with open_component(PROVIDER, embedder=embedder, path=str(tmp_path), vector_wait=0) as store:
        await store.add(document, chunks, fingerprint="t")
        async with asyncio.timeout(30):
            while not files(tmp_path):
                await asyncio.sleep(0.02)
        hits = await store.search(Query(text="harbour number", document_ids=(document.id,)))
        info, embedded = await store.get(document.id), embedder.wholes
        embedder.gate.set()

    assert info is not None
    assert info.state == "lexical"
    assert len(hits) == 40
    assert all(hit.similarity is not None for hit in hits)
    assert embedded == 40
