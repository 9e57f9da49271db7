"""Reading documents from beginning to end."""

from collections.abc import Sequence
from typing import Any

import pytest

from openkimi import Chunk, Document, DocumentNotFound, Processor, StorageError
from openkimi.documents import ANONYMOUS
from openkimi.entire import read_entire
from openkimi.memory import Memory
from openkimi.testing import InMemoryRetriever


class Uncut(Processor):
    """Makes one chunk of a document."""

    version = "1"

    async def process(self, document: Document) -> Sequence[Chunk]:
        return [Chunk(key="k", text=document.text, start=0, end=len(document.text), ordinal=0)]


class Damaged(InMemoryRetriever):
    """Cannot read one document."""

    damaged = ""

    async def read(self, document_id: str, **options: Any) -> Sequence[Chunk]:
        if document_id == self.damaged:
            raise StorageError("document memory: a table is damaged")
        return await super().read(document_id, **options)


async def stored(retriever: InMemoryRetriever, *texts: str) -> tuple[Memory, list[str]]:
    memory, documents = Memory(Uncut(), retriever), [Document.of(text) for text in texts]
    for document in documents:
        await memory.remember(document, ANONYMOUS)
    return memory, [document.id for document in documents]


async def read(memory: Memory, ids: Sequence[str], **options: Any) -> list[str]:
    return [id_ async for id_, _ in read_entire(memory, ids, ANONYMOUS, **options)]


async def test_a_document_that_cannot_be_read_is_passed_over() -> None:
    """One that was deleted or is damaged takes nothing from the others."""
    retriever = Damaged()
    memory, [one, gone, damaged] = await stored(retriever, "One.", "Two.", "Three.")
    await retriever.delete(gone)
    retriever.damaged = damaged

    assert await read(memory, [gone, damaged, one]) == [one]
    assert await read(memory, []) == []


async def test_where_none_can_be_read_the_first_reason_is_told() -> None:
    """An answer from nothing at all would not be what was asked for."""
    retriever = Damaged()
    memory, [gone, damaged] = await stored(retriever, "One.", "Two.")
    await retriever.delete(gone)
    retriever.damaged = damaged

    with pytest.raises(DocumentNotFound):
        await read(memory, [gone, damaged])
    with pytest.raises(StorageError, match="damaged"):
        await read(memory, [damaged, gone])


async def test_no_more_is_read_than_there_is_room_for() -> None:
    """The first document is read in any case, others as long as all of them fit."""
    memory, [long, short, other] = await stored(InMemoryRetriever(), "x" * 100, "y" * 10, "z" * 20)

    assert await read(memory, [long, short], most=50) == [long]
    assert await read(memory, [short, long, other], most=30) == [short, other]
