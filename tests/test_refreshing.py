"""Stored documents that another processor cut are made anew while they are searched as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from paragraphs import Paragraphs

from openkimi import Document, StorageError
from openkimi.memory import Memory
from openkimi.testing import InMemoryRetriever

TEXT = "The harbour lies in the north.\n\nThe market lies in the south."
DOCUMENT = Document.of(TEXT, name="places.txt", kept=True)


async def stored(processor: Paragraphs, *tenants: str) -> InMemoryRetriever:
    retriever = InMemoryRetriever()
    for tenant in tenants:
        await Memory(processor, retriever).remember(DOCUMENT, tenant)
    return retriever


async def fingerprint(memory: Memory, tenant: str = "ana", *, wanted: str | None = None) -> str | None:
    """Tell a document's fingerprint, once it is the wanted one."""
    for _ in range(200):
        info = await memory.get(DOCUMENT.id, tenant)
        if wanted is None or (info is not None and info.fingerprint == wanted):
            return info.fingerprint if info else None
        await asyncio.sleep(0.005)
    pytest.fail(f"the fingerprint is not {wanted} after a second")


async def test_the_old_passages_answer_while_the_new_ones_are_made() -> None:
    """Sending a document that another processor cut waits for nothing, and it is made anew behind."""
    retriever = await stored(Paragraphs("1"), "ana")
    processor = Paragraphs("2")
    processor.gate.clear()
    memory = Memory(processor, retriever)

    await memory.remember(DOCUMENT, "ana")
    hits = await memory.search("harbour", [DOCUMENT.id], tenant="ana")
    before = await fingerprint(memory)
    processor.gate.set()
    after = await fingerprint(memory, wanted="2")
    await memory.close()

    assert hits[0].chunk.text == "The harbour lies in the north."
    assert (before, after, processor.calls) == ("1", "2", 1)


async def test_all_stored_documents_are_taken_up_at_the_start() -> None:
    """Documents of all tenants are made anew one after the other; name and being kept stay."""
    retriever = await stored(Paragraphs("1"), "ana", "ben")
    processor = Paragraphs("2")
    memory = Memory(processor, retriever)

    await memory.refresh()
    await fingerprint(memory, "ana", wanted="2")
    await fingerprint(memory, "ben", wanted="2")
    info = await memory.get(DOCUMENT.id, "ben")
    await memory.refresh()
    await memory.close()

    assert processor.calls == 2
    assert info is not None
    assert (info.name, info.kept) == ("places.txt", True)
    assert await retriever.text(DOCUMENT.id, tenant="ben") == TEXT


async def test_a_document_deleted_meanwhile_stays_deleted() -> None:
    """Making a document anew does not bring it back."""
    retriever = await stored(Paragraphs("1"), "ana", "ben")
    processor = Paragraphs("2")
    processor.gate.clear()
    memory = Memory(processor, retriever)

    await memory.refresh()
    await asyncio.sleep(0.02)
    deleted = await memory.forget(DOCUMENT.id, "ana")
    processor.gate.set()
    await fingerprint(memory, "ben", wanted="2")
    await memory.close()

    assert deleted
    assert await memory.get(DOCUMENT.id, "ana") is None


class SlowSearch(InMemoryRetriever):
    """Searches until it is let go; its first text cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.unreadable = {"ana"}

    async def search(self, query: object) -> Sequence[object]:  # type: ignore[override]
        await self.gate.wait()
        return ()

    async def text(self, document_id: str, *, tenant: str = "anonymous") -> str:
        if tenant in self.unreadable:
            raise StorageError("the disk is on fire")
        return await super().text(document_id, tenant=tenant)


async def test_nothing_is_begun_while_a_search_runs() -> None:
    """A search has the machine to itself; what cannot be read is passed over, the others follow."""
    retriever = SlowSearch()
    for tenant in ("ana", "ben"):
        await Memory(Paragraphs("1"), retriever).remember(DOCUMENT, tenant)
    processor = Paragraphs("2")
    memory = Memory(processor, retriever)

    searching = asyncio.create_task(memory.search("harbour", [DOCUMENT.id], tenant="ana"))
    await asyncio.sleep(0)
    await memory.refresh()
    await asyncio.sleep(0.05)
    during = processor.calls
    retriever.gate.set()
    await searching
    await fingerprint(memory, "ben", wanted="2")
    await memory.close()

    assert (during, processor.calls) == (0, 1)
    assert await fingerprint(memory, "ana") == "1"


async def test_closing_stops_the_work() -> None:
    """What was not finished is left as it was."""
    retriever = await stored(Paragraphs("1"), "ana")
    processor = Paragraphs("2")
    processor.gate.clear()
    memory = Memory(processor, retriever)

    await memory.refresh()
    await asyncio.sleep(0.02)
    await memory.close()

    assert processor.cancelled == 1
    assert await fingerprint(memory) == "1"
