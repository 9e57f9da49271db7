"""The memory: a document is processed once, and only for as long as somebody wants it."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from paragraphs import Paragraphs

from openkimi import Chunk, Document
from openkimi.memory import Memory
from openkimi.testing import InMemoryRetriever

TEXT = "The harbour lies in the north.\n\nThe market lies in the south."


async def test_a_document_is_processed_once() -> None:
    """The same text again costs nothing."""
    processor = Paragraphs()
    memory = Memory(processor, InMemoryRetriever())

    for _ in range(3):
        await memory.remember(Document.of(TEXT), "anonymous")

    assert processor.calls == 1


async def test_a_document_that_came_along_may_be_kept_later() -> None:
    """Uploading what a message carried before gives it a name and keeps it, without processing it again."""
    processor = Paragraphs()
    memory = Memory(processor, InMemoryRetriever())

    await memory.remember(Document.of(TEXT), "anonymous")
    await memory.remember(Document.of(TEXT, name="places.txt", kept=True), "anonymous")
    await memory.remember(Document.of(TEXT), "anonymous")
    info = await memory.get(Document.of(TEXT).id, "anonymous")

    assert info is not None
    assert (info.name, info.kept, processor.calls) == ("places.txt", True, 1)


async def test_two_at_the_same_time_share_the_work_and_survive_each_other() -> None:
    """One of two who wait may leave, the other still gets the document."""
    processor = Paragraphs()
    processor.gate.clear()
    retriever = InMemoryRetriever()
    memory = Memory(processor, retriever)
    one, two = (asyncio.create_task(memory.remember(Document.of(TEXT), "anonymous")) for _ in range(2))
    await asyncio.sleep(0.01)

    one.cancel()
    await asyncio.wait([one])
    processor.gate.set()
    await two

    assert (processor.calls, processor.cancelled, len(retriever.added)) == (1, 0, 1)


async def test_when_everyone_leaves_the_work_stops() -> None:
    """Nobody waits any more: the processing is cancelled, and starts anew next time."""
    processor = Paragraphs()
    processor.gate.clear()
    memory = Memory(processor, InMemoryRetriever())
    task = asyncio.create_task(memory.remember(Document.of(TEXT), "anonymous"))
    await asyncio.sleep(0.01)

    task.cancel()
    await asyncio.wait([task])
    processor.gate.set()
    await memory.remember(Document.of(TEXT), "anonymous")

    assert (processor.calls, processor.cancelled) == (2, 1)


async def test_a_newcomer_waits_until_cancelled_work_has_ended() -> None:
    """The same document is never processed twice at once, also not while a cancellation takes its time."""
    processor = Paragraphs()
    processor.gate.clear()
    memory = Memory(processor, InMemoryRetriever())
    leaving = asyncio.create_task(memory.remember(Document.of(TEXT), "anonymous"))
    await asyncio.sleep(0.01)

    leaving.cancel()
    staying = asyncio.create_task(memory.remember(Document.of(TEXT), "anonymous"))
    processor.gate.set()
    await staying

    assert leaving.cancelled() or leaving.done()
    assert processor.calls - processor.cancelled == 1


class Stubborn(InMemoryRetriever):
    """A retriever that takes its time to stop."""

    async def add(self, *arguments: Any, **options: Any) -> None:
        try:
            await asyncio.sleep(0.05)
            await super().add(*arguments, **options)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
            raise


async def test_who_is_cancelled_twice_leaves_the_document_to_others() -> None:
    """A client leaves and the server stops, or a deadline comes, while the work is still ending."""
    memory = Memory(Paragraphs(), Stubborn())
    leaving = asyncio.create_task(memory.remember(Document.of(TEXT), "anonymous"))
    for _ in range(2):
        await asyncio.sleep(0.02)
        leaving.cancel()

    async with asyncio.timeout(10):
        await asyncio.wait([leaving])
        await memory.remember(Document.of(TEXT), "anonymous")

    assert await memory.get(Document.of(TEXT).id, "anonymous") is not None


async def test_another_processor_version_processes_again() -> None:
    """What an older version cut is replaced."""
    retriever = InMemoryRetriever()
    await Memory(Paragraphs("1"), retriever).remember(Document.of(TEXT), "anonymous")

    await Memory(Paragraphs("2"), retriever).remember(Document.of(TEXT), "anonymous")

    info = await retriever.get(Document.of(TEXT).id)
    assert info is not None
    assert info.fingerprint == "2"


async def test_tenants_do_not_see_each_other() -> None:
    """The same text of another tenant is processed for that one."""
    retriever = InMemoryRetriever()
    memory = Memory(Paragraphs(), retriever)
    document = Document.of(TEXT)
    await memory.remember(document, "one")

    hits = await memory.search("Where is the harbour?", [document.id], tenant="two")

    assert hits == []
    assert await memory.search("Where is the harbour?", [document.id], tenant="one")


async def test_the_densest_chunks_come_first_and_are_always_the_same() -> None:
    """Whatever was asked, the dense core of a document does not change."""
    memory = Memory(Paragraphs(), InMemoryRetriever())
    document = Document.of(TEXT)
    await memory.remember(document, "anonymous")

    first = await memory.densest(document.id, "anonymous")

    assert [chunk.density for chunk in first] == sorted((chunk.density for chunk in first), reverse=True)
    assert await memory.densest(document.id, "anonymous") == first


def test_a_text_has_the_same_id_everywhere() -> None:
    """The id is made of the content, and what no encoding can hold does not break it."""
    assert Document.of("ships").id == Document.of("ships").id
    assert Document.of("ships").id != Document.of("ships ").id
    assert Document.of("a\ud800b").text == "a\ufffdb"


async def test_a_shared_document_is_found_by_every_tenant() -> None:
    """What is preloaded counts for all, beside the tenant's own; nobody sees another one's."""
    retriever = InMemoryRetriever()
    memory = Memory(Paragraphs(), retriever)
    shared, own, foreign = (Document.of(f"The harbour of {name}.\n\nNothing.") for name in "ABC")
    await memory.remember(shared, "anonymous")
    await memory.remember(own, "alice")
    await memory.remember(foreign, "bob")
    memory.share(shared.id, "anonymous")

    hits = await memory.search("harbour", [shared.id, own.id, foreign.id], tenant="alice")

    assert {hit.document_id for hit in hits} == {shared.id, own.id}
    assert [info.id for info in await memory.list("alice")] == [shared.id, own.id]
    assert await memory.get(shared.id, "alice") is not None
    assert await memory.get(foreign.id, "alice") is None
    assert [chunk.ordinal for chunk in await memory.densest(shared.id, "alice")]


class Interrupted(InMemoryRetriever):
    """Something else happens to a document, once, when it is about to be read, or has been: ``late``."""

    late = False

    def __init__(self, happens: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._happens: Callable[[], Awaitable[object]] | None = happens

    async def read(self, document_id: str, **options: Any) -> Sequence[Chunk]:
        chunks = await super().read(document_id, **options) if self.late else ()
        happens, self._happens = self._happens, None
        if happens is not None:
            await happens()
        return chunks or await super().read(document_id, **options)


async def test_an_upload_survives_a_deletion_at_the_same_time() -> None:
    """What is deleted while an upload gives it its name is stored again by the upload."""
    document = Document.of(TEXT, name="places.txt", kept=True)
    retriever = Interrupted(lambda: memory.forget(document.id, "anonymous"))
    memory = Memory(Paragraphs(), retriever)
    await memory.remember(Document.of(TEXT), "anonymous")

    await memory.remember(document, "anonymous")
    info = await memory.get(document.id, "anonymous")

    assert info is not None
    assert (info.name, info.kept) == ("places.txt", True)


async def test_a_name_given_during_a_refresh_leaves_the_new_passages_new() -> None:
    """New passages are never written under the fingerprint of the old ones."""
    document = Document.of(TEXT, name="places.txt", kept=True)
    chunks = {version: tuple(await Paragraphs(version).process(document)) for version in "12"}
    written: list[tuple[str, tuple[Chunk, ...]]] = []

    class Writing(Interrupted):
        async def add(self, document: Document, chunks: Sequence[Chunk], **options: Any) -> None:
            written.append((options["fingerprint"], tuple(chunks)))
            await super().add(document, chunks, **options)

    retriever = Writing(lambda: retriever.add(Document.of(TEXT), chunks["2"], fingerprint="2"))
    memory = Memory(Paragraphs("1"), retriever)
    await memory.remember(Document.of(TEXT), "anonymous")

    await memory.remember(document, "anonymous")
    info = await memory.get(document.id, "anonymous")
    await memory.close()

    assert info is not None
    assert info.name == "places.txt"
    assert all(made == chunks[fingerprint] for fingerprint, made in written)


async def test_the_dense_core_of_a_deleted_document_is_not_remembered() -> None:
    """A deletion while the core is being read leaves nothing of the document behind."""
    document = Document.of(TEXT)
    retriever = Interrupted(lambda: memory.forget(document.id, "anonymous"))
    retriever.late = True
    await Memory(Paragraphs(), retriever).remember(document, "anonymous")
    memory = Memory(Paragraphs(), retriever)

    assert len(await memory.densest(document.id, "anonymous")) == 2
    assert await memory.densest(document.id, "anonymous") == ()


async def test_the_dense_core_is_remembered_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the search for the densest passages is a thread's: what is remembered changes in one thread."""
    threads = set[int]()

    class Watched(OrderedDict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            threads.add(threading.get_ident())
            super().__setitem__(key, value)

    memory = Memory(Paragraphs(), InMemoryRetriever())
    monkeypatch.setattr(memory, "_densest", Watched())
    await memory.remember(Document.of(TEXT), "anonymous")

    assert threads == {threading.get_ident()}
