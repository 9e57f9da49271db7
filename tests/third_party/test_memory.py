from collections.abc import AsyncIterator

import openkimi_shout
import pytest
from openkimi_shout import MemoryRetriever

from openkimi import Chunk, Document, DocumentNotFound, Query
from openkimi.testing import open_component

(MEMORY,) = openkimi_shout.register_retrievers()
LINES = ("The harbour master is Ines Vidal.", "灯塔建于一九一三年。", "Bread is baked at dawn.")
DOCUMENT = Document.of("\n".join(LINES))


def chunks() -> list[Chunk]:
    starts = [DOCUMENT.text.index(line) for line in LINES]
    return [
        Chunk(key=Chunk.key_of(line, (), "1"), text=line, start=start, end=start + len(line), ordinal=number)
        for number, (line, start) in enumerate(zip(LINES, starts, strict=True))
    ]


@pytest.fixture
async def memory() -> AsyncIterator[MemoryRetriever]:
    async with open_component(MEMORY) as retriever:
        await retriever.add(DOCUMENT, chunks(), fingerprint="lines 1", tenant="ana")
        assert isinstance(retriever, MemoryRetriever)
        yield retriever


@pytest.mark.parametrize(
    ("question", "ordinal"),
    [("Who is the harbour master?", 0), ("灯塔是哪一年建的", 1), ("when is BREAD baked", 2)],
)
async def test_the_passage_that_shares_most_words_comes_first(
    memory: MemoryRetriever, question: str, ordinal: int
) -> None:
    """A question finds its passage in English and in Chinese."""
    hits = await memory.search(Query(text=question, document_ids=(DOCUMENT.id,), tenant="ana"))

    assert hits[0].chunk.ordinal == ordinal


async def test_another_tenant_sees_nothing(memory: MemoryRetriever) -> None:
    """A document belongs to the tenant that added it."""
    hits = await memory.search(Query(text="harbour", document_ids=(DOCUMENT.id,), tenant="ben"))

    assert hits == []
    assert await memory.get(DOCUMENT.id, tenant="ben") is None
    assert await memory.list(tenant="ben") == []
    assert not await memory.delete(DOCUMENT.id, tenant="ben")
    with pytest.raises(DocumentNotFound):
        await memory.read(DOCUMENT.id, tenant="ben")


async def test_a_document_is_read_in_order_and_forgotten(memory: MemoryRetriever) -> None:
    """What was added can be read, whole or in part, until it is deleted."""
    whole = await memory.read(DOCUMENT.id, tenant="ana")
    part = await memory.read(DOCUMENT.id, tenant="ana", ordinals=[2, 9])
    deleted = await memory.delete(DOCUMENT.id, tenant="ana")

    assert [chunk.text for chunk in whole] == list(LINES)
    assert [chunk.ordinal for chunk in part] == [2]
    assert deleted
    assert await memory.list(tenant="ana") == []
