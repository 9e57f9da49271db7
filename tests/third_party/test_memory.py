import asyncio

import openkimi_shout
import pytest

from openkimi import Query
from openkimi.testing import cut, open_component
from openkimi.testing.contracts import RetrieverContract

(MEMORY,) = openkimi_shout.register_retrievers()
LINES = ("The harbour master is Ines Vidal.", "灯塔建于一九一三年。", "Bread is baked at dawn.")


class TestMemory(RetrieverContract):
    """The memory keeps what every retriever promises."""

    provider = MEMORY


@pytest.mark.parametrize(
    ("question", "ordinal"),
    [("Who is the harbour master?", 0), ("灯塔是哪一年建的", 1), ("when is BREAD baked", 2)],
)
def test_the_passage_that_shares_most_words_comes_first(question: str, ordinal: int) -> None:
    """A question finds its passage in English and in Chinese."""
    document, chunks = cut("\n\n".join(LINES))

    async def first() -> int:
        async with open_component(MEMORY) as memory:
            await memory.add(document, chunks, fingerprint="lines 1")
            hits = await memory.search(Query(text=question, document_ids=(document.id,)))
            return hits[0].chunk.ordinal

    assert asyncio.run(first()) == ordinal
