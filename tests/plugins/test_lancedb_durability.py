"""The retriever ``lancedb`` through kills, damage and failing embedders."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Literal

import lancedb
import pyarrow as pa
import pytest

import openkimi_lancedb
import openkimi_lancedb.retriever
from openkimi import BackendUnavailable, Chunk, Document, Embedder, Query, Retriever, StorageError, Vectors
from openkimi.testing import HashingEmbedder, open_component
from openkimi_lancedb.catalogue import Catalogue
from openkimi_lancedb.chunktable import ChunkTable

PROVIDER = next(iter(openkimi_lancedb.register_retrievers()))


def text_of(name: str, paragraphs: int = 40) -> str:
    return "\n\n".join(f"Paragraph {n} of {name} speaks of subject{n}." for n in range(paragraphs))


def cut(text: str) -> list[Chunk]:
    chunks: list[Chunk] = []
    start = 0
    for paragraph in text.split("\n\n"):
        key = Chunk.key_of(paragraph, (), "test")
        end = start + len(paragraph)
        chunks.append(Chunk(key=key, text=paragraph, start=start, end=end, ordinal=len(chunks)))
        start = end + 2
    return chunks


async def add(
    retriever: Retriever,
    text: str,
    *,
    fingerprint: str = "test",
    name: str | None = None,
    kept: bool = False,
) -> str:
    document = Document.of(text, name=name, kept=kept)
    await retriever.add(document, cut(text), fingerprint=fingerprint)
    return document.id


async def best(retriever: Retriever, question: str, *document_ids: str) -> tuple[str, int] | None:
    hits = await retriever.search(Query(text=question, document_ids=document_ids))
    return (hits[0].document_id, hits[0].chunk.ordinal) if hits else None


async def state(retriever: Retriever, document_id: str) -> str | None:
    info = await retriever.get(document_id)
    return info.state if info else None


async def ready(retriever: Retriever, document_id: str) -> None:
    for _ in range(3000):
        if await state(retriever, document_id) == "ready":
            return
        await asyncio.sleep(0.01)
    pytest.fail("the vectors are not complete after 30 seconds")


def store(
    path: Path, embedder: Embedder | None = None, **options: Any
) -> AbstractAsyncContextManager[Retriever]:
    return open_component(PROVIDER, embedder=embedder or HashingEmbedder(), path=str(path), **options)


class GatedEmbedder(HashingEmbedder):
    """Embeds ``first`` passages; further ones wait until the gate is open, or fail when it is broken."""

    def __init__(self, first: int, dimensions: int = 64) -> None:
        super().__init__(dimensions)
        self.gate = asyncio.Event()
        self.broken = False
        self._first = first

    @property
    def fingerprint(self) -> str:
        """The same in the process that is killed, which imports this module by another name."""
        return f"gated:{self.dimensions}"

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        if self.broken:
            raise BackendUnavailable("the embedding server is away")
        if input_type == "document" and len(self.embedded) + len(texts) > self._first:
            await self.gate.wait()
        return await super().embed(texts, input_type=input_type)


ADDING = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import test_lancedb_durability as here

async def main(path, first, count):
    async with here.store(path, here.GatedEmbedder(int(first)), vector_wait=0) as retriever:
        print("open", flush=True)
        for number in range(int(count)):
            await here.add(retriever, here.text_of(f"book {number}", 600))
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[2:]))
"""


async def adding_process(path: Path, *, first: int, count: int) -> asyncio.subprocess.Process:
    """Start a process that adds documents and stays until it is killed; it embeds the first passages only."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ADDING,
        str(Path(__file__).parent),
        str(path),
        str(first),
        str(count),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def test_a_killed_process_leaves_whole_documents_only(tmp_path: Path) -> None:
    """Whenever a process is killed, each listed document is complete and can be searched."""
    source = random.Random(1)
    for _ in range(3):
        process = await adding_process(tmp_path, first=10**9, count=1000)
        await asyncio.sleep(source.uniform(0.05, 0.6))
        await kill(process)

    async with store(tmp_path) as retriever:
        documents = await retriever.list()
        for info in documents:
            assert len(await retriever.read(info.id)) == info.chunks == 600
            assert await best(retriever, "subject577", info.id) == (info.id, 577)
        again = await add(retriever, text_of("book 0", 600))

        assert await best(retriever, "subject3", again) == (again, 3)


CHURNING = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import openkimi_lancedb.evicting
import test_lancedb_durability as here

openkimi_lancedb.evicting.IN_USE = 0.0
asyncio.run(here.churn(sys.argv[2], int(sys.argv[3])))
"""


async def churn(path: str, seed: int) -> None:
    """Add, replace, drop for want of room, search and delete, until killed; says what is to be kept."""
    source, count = random.Random(seed), 0
    async with store(Path(path), vector_wait=0, max_size=400_000) as retriever:
        _say("open")
        while True:
            count += 1
            kept = text_of(f"kept {source.randrange(3)}", 300)
            await add(retriever, kept, fingerprint=f"{seed}.{count}", kept=True)
            _say(f"kept {Document.of(kept).id}")
            ids = [await add(retriever, text_of(f"book {source.randrange(8)}", 300)) for _ in range(2)]
            await retriever.search(Query(text="subject77", document_ids=tuple(ids)))
            await retriever.delete(source.choice(ids))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def churning_process(path: Path, seed: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHURNING,
        str(Path(__file__).parent),
        str(path),
        str(seed),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    while (line := await process.stdout.readline()) != b"open\n":  # a start beside another one may warn
        assert line, "the process ended before it was open"
    return process


async def killed_after(process: asyncio.subprocess.Process, seconds: float) -> set[str]:
    """Kill a process after some time and return the ids of what it had stored to be kept."""
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    said, _ = await process.communicate()
    return set(re.findall(r"^kept (doc_\w{32})$", said.decode(), re.MULTILINE))


async def assert_whole(retriever: Retriever, kept: set[str]) -> None:
    listed = {info.id: info for info in await retriever.list()}
    assert kept <= {document_id for document_id, info in listed.items() if info.kept}
    for document_id, info in listed.items():
        assert Document.of(await retriever.text(document_id)).id == document_id
        assert len(await retriever.read(document_id)) == info.chunks == 300
        assert await best(retriever, "subject77", document_id) == (document_id, 77)


async def test_a_kill_at_any_moment_loses_nothing_that_is_kept(tmp_path: Path) -> None:
    """Killed while it adds, replaces, drops or compacts, a process leaves whole documents and all kept."""
    source, kept = random.Random(7), set[str]()
    for seed in range(5):
        process = await churning_process(tmp_path, seed)
        kept |= await killed_after(process, source.uniform(0.05, 0.7))

        async with store(tmp_path) as retriever:
            await assert_whole(retriever, kept)
    assert kept


async def test_two_processes_work_on_the_same_documents(tmp_path: Path) -> None:
    """Two processes that add, replace, drop and delete the same documents at once keep the store whole."""
    processes = await asyncio.gather(*(churning_process(tmp_path, seed) for seed in (1, 2)))
    await asyncio.sleep(2)
    alive = [process.returncode is None for process in processes]
    kept = set.union(*await asyncio.gather(*(killed_after(process, 0) for process in processes)))

    async with store(tmp_path) as retriever:
        await assert_whole(retriever, kept)
    assert alive == [True, True]
    assert kept


async def test_vectors_are_gone_on_with_after_a_kill(tmp_path: Path) -> None:
    """A document whose vectors were half made is found by its words, and only the rest is embedded."""
    process = await adding_process(tmp_path, first=550, count=1)
    document_id = Document.of(text_of("book 0", 600)).id
    made = await asyncio.to_thread(_wait_for_rows, tmp_path)
    await kill(process)
    embedder = GatedEmbedder(0)

    async with store(tmp_path, embedder) as retriever:
        before = await state(retriever, document_id)
        embedder.gate.set()
        await ready(retriever, document_id)
        found = await best(retriever, "subject599", document_id)

    assert before == "lexical"
    assert found == (document_id, 599)
    assert made in {88, 512}
    assert len(embedder.embedded) == 600 - made


def _wait_for_rows(path: Path) -> int:
    """Wait until a table of vectors has rows, and count them."""

    async def count() -> int:
        database = await lancedb.connect_async(str(path))
        names = [name for name in (await database.list_tables()).tables if name.startswith("vectors_")]
        return max([await (await database.open_table(name)).count_rows() for name in names], default=0)

    deadline = time.monotonic() + 30
    while not (rows := asyncio.run(count())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return rows


async def test_tables_without_a_row_are_swept_away_when_old(tmp_path: Path) -> None:
    """Opening drops what a killed process left, but not what another one may be writing just now."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, text_of("one"))
    slots = {age: f"{'a' * 16}{int((time.time() - age) * 1000):012x}{'b' * 8}" for age in (5, 86_400)}
    database = await lancedb.connect_async(str(tmp_path))
    for slot in slots.values():
        await database.create_table(f"chunks_{slot}", pa.table({"ordinal": [1]}))
        await database.create_table(f"vectors_{slot}_{'c' * 8}", pa.table({"ordinal": [1]}))
    await database.create_table("somebody_elses", pa.table({"n": [1]}))

    async with store(tmp_path) as retriever:
        names = (await database.list_tables()).tables
        found = await best(retriever, "subject7", document_id)

    assert sum(slots[5] in name for name in names) == 2
    assert sum(slots[86_400] in name for name in names) == 0
    assert "somebody_elses" in names
    assert found == (document_id, 7)


@pytest.mark.parametrize("part", ["data", "_versions", "."])
@pytest.mark.parametrize("harm", ["removed", "garbled"])
async def test_a_damaged_document_is_added_again(tmp_path: Path, part: str, harm: str) -> None:
    """A table that is damaged on disk costs its own document only, which is absent until added again."""
    async with store(tmp_path) as retriever:
        whole = await add(retriever, text_of("whole"))
        known = _tables(tmp_path, "chunks")
        hurt = await add(retriever, text_of("hurt"))
        (table,) = _tables(tmp_path, "chunks") - known
    _damage(table / part, harm)

    async with store(tmp_path) as retriever:
        await _search_damaged(retriever, hurt)
        other = await best(retriever, "subject5", whole)
        both = await best(retriever, "subject5 whole", hurt, whole)
        if await retriever.get(hurt) is None:
            await add(retriever, text_of("hurt"))
        again = await best(retriever, "subject5", hurt)

    assert other == both == (whole, 5)
    assert again == (hurt, 5)


def _tables(path: Path, kind: str) -> set[Path]:
    return set(path.glob(f"{kind}_*"))


def _damage(place: Path, harm: str) -> None:
    if harm == "removed":
        shutil.rmtree(place)
        return
    for file in place.rglob("*"):
        if file.is_file():
            file.write_bytes(os.urandom(file.stat().st_size))


async def _search_damaged(retriever: Retriever, document_id: str) -> None:
    """Search once; only the error that says what to do may come of it."""
    with suppress(StorageError):
        assert await best(retriever, "subject5", document_id) in {None, (document_id, 5)}


@pytest.mark.parametrize("harm", ["removed", "garbled"])
async def test_lost_vectors_are_made_again(tmp_path: Path, harm: str) -> None:
    """Vectors that cannot be read do not keep a document from being found, and are replaced."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, text_of("book"))
    (table,) = _tables(tmp_path, "vectors")
    _damage(table / "data", harm)
    embedder = HashingEmbedder()

    async with store(tmp_path, embedder) as retriever:
        found = await best(retriever, "subject8", document_id)
        await ready(retriever, document_id)
        again = await best(retriever, "subject9", document_id)

    assert (found, again) == ((document_id, 8), (document_id, 9))
    assert set(embedder.embedded) == set(text_of("book").split("\n\n"))


async def test_another_embedder_makes_other_vectors(tmp_path: Path) -> None:
    """When the embedder changes, stored documents are embedded anew without being added again."""
    async with store(tmp_path, HashingEmbedder(32)) as retriever:
        document_id = await add(retriever, text_of("book"))
    embedder = HashingEmbedder(48)

    async with store(tmp_path, embedder) as retriever:
        await ready(retriever, document_id)
        hits = await retriever.search(Query(text="subject3", document_ids=(document_id,)))

    assert len(embedder.embedded) >= 40
    assert hits[0].chunk.ordinal == 3
    assert hits[0].similarity is not None


async def test_a_document_is_found_before_its_vectors_are_there(tmp_path: Path) -> None:
    """While vectors are made, passages found by their words are compared by meaning too."""
    embedder = GatedEmbedder(60)
    async with store(tmp_path, embedder, vector_wait=0) as retriever:
        document_id = await add(retriever, text_of("book", 600))
        hits = await retriever.search(Query(text="subject77", document_ids=(document_id,)))

        assert await state(retriever, document_id) == "lexical"
        assert hits[0].chunk.ordinal == 77
        assert hits[0].similarity is not None
        embedder.gate.set()
        await ready(retriever, document_id)


async def test_an_embedder_that_fails_leaves_the_words(tmp_path: Path) -> None:
    """Without its embedder the store still stores and finds, and goes on when it is opened again."""
    embedder = GatedEmbedder(0)
    embedder.broken = True
    async with store(tmp_path, embedder) as retriever:
        document_id = await add(retriever, text_of("book"))
        found = await best(retriever, "subject7", document_id)

        assert await state(retriever, document_id) == "lexical"
        assert found == (document_id, 7)
    async with store(tmp_path) as retriever:
        await ready(retriever, document_id)


@pytest.mark.parametrize("delay", [0, 0.001, 0.01, 0.03, 0.06])
async def test_a_cancelled_add_is_whole_or_absent(tmp_path: Path, delay: float) -> None:
    """Whenever adding is cancelled, what can be seen of the document is complete."""
    text = text_of("book", 3000)
    async with store(tmp_path, vector_wait=0) as retriever:
        adding = asyncio.create_task(add(retriever, text))
        await asyncio.sleep(delay)
        adding.cancel()
        await asyncio.wait([adding])
        info = await retriever.get(Document.of(text).id)

        assert info is None or len(await retriever.read(info.id)) == 3000
        assert await add(retriever, text) == Document.of(text).id
        assert await best(retriever, "subject2999", Document.of(text).id) is not None


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Make the catalogue write as slowly as object storage does; the event tells that a row is on its way."""
    put, writing = Catalogue.put, asyncio.Event()

    async def put_slowly(self: Catalogue, *row: Any) -> None:
        writing.set()
        await asyncio.sleep(0.05)
        await put(self, *row)

    monkeypatch.setattr(Catalogue, "put", put_slowly)
    return writing


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_document_deleted_after_a_cancelled_add_stays_deleted(
    tmp_path: Path, slow_writes: asyncio.Event, replaced: bool
) -> None:
    """What was being published when its adding was cancelled does not come back after a deletion."""
    async with store(tmp_path, vector_wait=0) as retriever:
        if replaced:
            await add(retriever, text_of("book"), fingerprint="older")
            slow_writes.clear()
        adding = asyncio.create_task(add(retriever, text_of("book")))
        await slow_writes.wait()
        for _ in range(2):
            adding.cancel()
            await asyncio.sleep(0.01)
        await retriever.delete(Document.of(text_of("book")).id)
        await asyncio.sleep(0.2)

        assert adding.cancelled()
        assert not await retriever.list()


async def test_a_document_that_was_kept_stays_so_through_damage(tmp_path: Path) -> None:
    """When the text of a damaged upload comes in a request, it is an upload again, with its name."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, text_of("book"), name="book.txt", kept=True)
    (table,) = _tables(tmp_path, "chunks")
    shutil.rmtree(table)

    async with store(tmp_path) as retriever:
        await _search_damaged(retriever, document_id)
        damaged = await retriever.get(document_id)
        await add(retriever, text_of("book"))
        info = await retriever.get(document_id)

    assert damaged is None
    assert info is not None
    assert (info.name, info.kept) == ("book.txt", True)


async def test_nothing_runs_after_closing(tmp_path: Path, slow_writes: asyncio.Event) -> None:
    """Closing also waits for what the end of some work began."""
    before = asyncio.all_tasks()
    async with store(tmp_path, vector_wait=0, max_size=1000) as retriever:
        adding = asyncio.create_task(add(retriever, text_of("book")))
        await slow_writes.wait()
        adding.cancel()

    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before <= {adding}


async def test_more_documents_than_stay_open_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query over more documents than there are open tables finds the one that answers."""
    monkeypatch.setattr("openkimi_lancedb.tables._MOST_OPEN", 64)
    async with store(tmp_path, vector_wait=0) as retriever:
        ids = [await add(retriever, f"The colour of number{n} is shade{n}.") for n in range(66)]
        found = await best(retriever, "shade65", *ids)
        early = await best(retriever, "shade3", *ids)

    assert (found, early) == ((ids[65], 0), (ids[3], 0))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the tables of chunks as they are opened."""
    opened, really = list[str](), ChunkTable.open

    async def open_counted(database: Any, name: str) -> ChunkTable:
        opened.append(name)
        return await really(database, name)

    monkeypatch.setattr(ChunkTable, "open", open_counted)
    return opened


async def test_a_document_replaced_during_a_search_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passages that stand there by then answer, in place of those that were being searched."""
    searching = openkimi_lancedb.retriever.search_meaning

    async with store(tmp_path) as retriever:
        document_id = await add(retriever, text_of("book"), fingerprint="older")

        async def search_late(*arguments: Any) -> Any:
            await add(retriever, text_of("book"), fingerprint="newer")
            return await searching(*arguments)

        monkeypatch.setattr("openkimi_lancedb.retriever.search_meaning", search_late)
        hits = await retriever.search(Query(text="subject7", document_ids=(document_id,)))

    assert (hits[0].chunk.ordinal, len(hits)) == (7, 40)


async def test_tidying_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is stored, even if another writer keeps the catalogue from being tidied."""

    async def conflict(*_: Any, **__: Any) -> None:
        raise RuntimeError("Retryable commit conflict")

    async with store(tmp_path, vector_wait=0) as retriever:
        monkeypatch.setattr("openkimi_lancedb.catalogue._WRITES_BEFORE_TIDYING", 1)
        monkeypatch.setattr("lancedb.AsyncTable.optimize", conflict)
        document_id = await add(retriever, text_of("book"))

        assert await best(retriever, "subject7", document_id) == (document_id, 7)


async def test_a_hundred_small_documents_stay_open(tmp_path: Path, opened: list[str]) -> None:
    """Requests that look up and search as many documents as are preloaded open no table a second time."""
    async with store(tmp_path, vector_wait=0) as retriever:
        ids = [await add(retriever, f"The colour of number{n} is shade{n}.") for n in range(100)]
        await ready_all(retriever, ids)
        opened.clear()
        for number in (3, 97):
            assert await best(retriever, f"shade{number}", *ids) == (ids[number], 0)
            await ready_all(retriever, ids)

    assert not opened


async def test_looking_up_documents_opens_each_once(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents that do not stay open, for want of room, are looked up without being opened again."""
    monkeypatch.setattr("openkimi_lancedb.tables._MOST_BYTES", 1)
    async with store(tmp_path, vector_wait=0) as retriever:
        ids = [await add(retriever, text_of(f"book {n}", 3)) for n in range(4)]
        await ready_all(retriever, ids)
        opened.clear()
        await ready_all(retriever, ids)

    assert not opened


async def ready_all(retriever: Retriever, document_ids: Sequence[str]) -> None:
    for each in document_ids:
        await ready(retriever, each)


async def test_a_place_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """A path under a file is one line about the path, and not a traceback of LanceDB's."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(StorageError, match=r"rag\.path"):
        async with store(tmp_path / "file" / "store"):
            pass
