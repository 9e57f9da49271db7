"""The size of the store: what is dropped, what stays, and what is refused."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import lancedb
import pytest

import openkimi_lancedb
from openkimi import Chunk, ConfigError, Document, Query, Retriever, StorageFull
from openkimi.testing import HashingEmbedder, open_component

PROVIDER = next(iter(openkimi_lancedb.register_retrievers()))
DOCUMENT_BYTES = 22_000
"""About what a document of :func:`text_of` takes, its vectors included."""


def text_of(name: str) -> str:
    return "\n\n".join(f"Paragraph {number} of {name} speaks of subject{number}." for number in range(60))


def store(path: Path, documents: float | None, **options: Any) -> AbstractAsyncContextManager[Retriever]:
    """Open a store with room for so many documents."""
    size = None if documents is None else int(documents * DOCUMENT_BYTES)
    return open_component(PROVIDER, embedder=HashingEmbedder(), path=str(path), max_size=size, **options)


async def add(retriever: Retriever, name: str, fingerprint: str = "t", **more: Any) -> str:
    document, chunks, start = Document.of(text_of(name), **more), list[Chunk](), 0
    for paragraph in document.text.split("\n\n"):
        key, end = Chunk.key_of(paragraph, (), "t"), start + len(paragraph)
        chunks.append(Chunk(key=key, text=paragraph, start=start, end=end, ordinal=len(chunks)))
        start = end + 2
    await retriever.add(document, chunks, fingerprint=fingerprint)
    return document.id


async def ask(retriever: Retriever, *document_ids: str) -> int:
    return len(await retriever.search(Query(text="subject7", document_ids=document_ids)))


async def stored(retriever: Retriever, count: int | None = None) -> set[str]:
    """List what is stored, once there are so many."""
    for _ in range(300):
        ids = {info.id for info in await retriever.list()}
        if count is None or len(ids) == count:
            return ids
        await asyncio.sleep(0.01)
    pytest.fail(f"{len(ids)} documents are stored after 3 seconds, not {count}")


def tables(path: Path, kind: str) -> int:
    return len(list(path.glob(f"{kind}_*")))


@pytest.fixture
def nothing_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkimi_lancedb.evicting.IN_USE", 0.0)


@pytest.mark.usefixtures("nothing_in_use")
async def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """When the store is too large, the document goes that was neither searched nor sent for longest."""
    async with store(tmp_path, 3.5) as retriever:
        first, second, third = [await add(retriever, name) for name in ("one", "two", "three")]
        await ask(retriever, first)
        await add(retriever, "three")
        fourth = await add(retriever, "four")

        assert await stored(retriever, 3) == {first, third, fourth}
        assert await retriever.get(second) is None
        assert await ask(retriever, second) == 0
        assert await ask(retriever, first) > 0
    assert tables(tmp_path, "chunks") == tables(tmp_path, "vectors") == 3


@pytest.mark.usefixtures("nothing_in_use")
async def test_uses_are_remembered_over_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used last before a restart is not what goes after it."""
    monkeypatch.setattr("openkimi_lancedb.evicting._NOTED_EVERY", 0.0)
    async with store(tmp_path, None) as retriever:
        first, second = [await add(retriever, name) for name in ("one", "two")]
        await ask(retriever, first)

    async with store(tmp_path, 2.5) as retriever:
        third = await add(retriever, "three")

        assert await stored(retriever, 2) == {first, third}
        assert await retriever.get(second) is None


@pytest.mark.usefixtures("nothing_in_use")
async def test_what_is_kept_is_never_dropped(tmp_path: Path) -> None:
    """Documents given to be stored stay, however long they were not used and whatever comes along."""
    async with store(tmp_path, 2.5) as retriever:
        kept = await add(retriever, "kept", kept=True)
        for number in range(4):
            last = await add(retriever, f"along {number}")

        assert await stored(retriever, 2) == {kept, last}


@pytest.mark.usefixtures("nothing_in_use")
async def test_a_store_full_of_kept_documents_refuses_another(tmp_path: Path) -> None:
    """The error tells sizes and what to do, nothing is lost, and what was refused leaves nothing behind."""
    async with store(tmp_path, 2.5) as retriever:
        kept = {await add(retriever, name, kept=True) for name in ("one", "two")}
        with pytest.raises(StorageFull, match=r"kB.* of rag\.max_size.*delete some or raise rag\.max_size"):
            await add(retriever, "three", kept=True)
        await add(retriever, "two", kept=True)

        assert await stored(retriever) == kept
    assert tables(tmp_path, "chunks") == 2


async def test_the_sizes_of_a_small_store_can_be_read(tmp_path: Path) -> None:
    """What is far from a megabyte is told in a smaller unit, and none of it as nothing."""
    async with open_component(
        PROVIDER, embedder=HashingEmbedder(), path=str(tmp_path), max_size="2kB"
    ) as retriever:
        with pytest.raises(StorageFull, match=r"\([\d.,]+ [kM]B\).*have 0 bytes of rag\.max_size, 2\.0 kB"):
            await add(retriever, "one", kept=True)


async def test_what_came_along_is_not_kept_without_room(tmp_path: Path) -> None:
    """A stored document that is given to be kept counts from then on, and is refused like a new one."""
    async with store(tmp_path, 1.5) as retriever:
        await add(retriever, "one", kept=True)
        along = await add(retriever, "two")
        with pytest.raises(StorageFull):
            await add(retriever, "two", kept=True)
        info = await retriever.get(along)

    assert info is not None
    assert not info.kept


async def test_a_document_in_use_stays(tmp_path: Path) -> None:
    """What a request may be about to search is not dropped, even if the store is too large for a while."""
    async with store(tmp_path, 0.5) as retriever:
        ids = {await add(retriever, name) for name in ("one", "two")}
        await asyncio.sleep(0.2)

        assert await stored(retriever) == ids


async def test_a_refreshed_document_in_use_stays(tmp_path: Path) -> None:
    """What was stored long ago and is used now is in use with new passages as well."""
    async with store(tmp_path, None) as retriever:
        first, second = [await add(retriever, name) for name in ("one", "two")]
    catalogue = await (await lancedb.connect_async(str(tmp_path))).open_table("documents_2")
    await catalogue.update({"created": time.time() - 86_400, "used": 0.0})

    async with store(tmp_path, 0.5) as retriever:
        await ask(retriever, first)
        await add(retriever, "one", fingerprint="another")
        await asyncio.sleep(0.3)

        assert await stored(retriever) == {first}
        assert await retriever.get(second) is None


@pytest.mark.usefixtures("nothing_in_use")
async def test_searches_go_on_while_documents_are_dropped(tmp_path: Path) -> None:
    """A search of a document that is being dropped finds it whole or not at all, and never fails."""
    async with store(tmp_path, 2.2, vector_wait=0) as retriever:
        ids: list[str] = []

        async def fill() -> None:
            for number in range(12):
                ids[:0] = [await add(retriever, f"book {number}")]

        filling = asyncio.create_task(fill())
        found = set[int]()
        while not filling.done():
            for each in ids[:3]:
                hits = await retriever.search(Query(text="subject7", document_ids=(each,)))
                found.update(hit.chunk.ordinal for hit in hits[:1])
            await asyncio.sleep(0)
        await filling
        left = await stored(retriever)

    assert found == {7}
    assert len(left) < 5


async def test_without_a_limit_everything_stays(tmp_path: Path) -> None:
    """``max_size: null`` drops nothing."""
    async with store(tmp_path, None) as retriever:
        ids = {await add(retriever, name) for name in "abcdef"}

        assert await stored(retriever) == ids


async def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    """The error names the option and how sizes are written."""
    with pytest.raises(ConfigError, match=r"rag\.max_size: expected a size like 64MiB"):
        async with open_component(PROVIDER, embedder=HashingEmbedder(), path=str(tmp_path), max_size="much"):
            pass
