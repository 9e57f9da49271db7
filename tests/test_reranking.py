"""Reranking: a stronger embedder orders the best hits anew, in the time that it is given."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from openkimi import BackendError, Chunk, Embedder, Hit, Vectors
from openkimi.degrading import gathering
from openkimi.reranking import Reranker


class Counting(Embedder):
    """Finds texts near that share their first word with the question; takes ``seconds`` for each text."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.embedded: list[str] = []

    @property
    def dimensions(self) -> int:
        return 2

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        await asyncio.sleep(self.seconds * len(texts) if input_type == "document" else 0)
        self.embedded += texts if input_type == "document" else []
        return np.array([[1, 0] if text.startswith("apple") else [0, 1] for text in texts], np.float32)


class Failing(Counting):
    """Fails at what is of a type: at questions, or at documents."""

    def __init__(self, error: Exception, at: str = "query") -> None:
        super().__init__()
        self.error, self.at = error, at

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        if input_type == self.at:
            raise self.error
        return await super().embed(texts, input_type=input_type)


def hits(count: int, apples: Sequence[int] = ()) -> list[Hit]:
    texts = [f"{'apple' if at in apples else 'pear'} {at}" for at in range(count)]
    return [
        Hit(
            document_id="doc",
            chunk=Chunk(key=f"key{at}", text=text, start=0, end=len(text), ordinal=at),
            score=1 / (1 + at),
        )
        for at, text in enumerate(texts)
    ]


def ordinals(found: Sequence[Hit]) -> list[int]:
    return [hit.chunk.ordinal for hit in found]


async def test_a_trim_forgets_the_vectors() -> None:
    """After it passages are embedded anew; one that runs meanwhile orders as it would have."""
    embedder = Counting(seconds=0.001)
    reranker = Reranker(embedder, milliseconds=5000)
    before = await reranker.rerank("apple", hits(10, apples=[7]))
    running = asyncio.ensure_future(reranker.rerank("apple", hits(10, apples=[7])))
    await asyncio.sleep(0)

    await reranker.trim()
    meanwhile = await running
    assert len(embedder.embedded) == 10
    afterwards = await reranker.rerank("apple", hits(10, apples=[7]))

    assert list(before) == list(meanwhile) == list(afterwards)
    assert len(embedder.embedded) == 20


async def test_what_is_nearer_comes_up() -> None:
    """A passage that the embedder finds near passes others, and scores fall from first to last."""
    found = await Reranker(Counting(), milliseconds=5000).rerank("apple", hits(10, apples=[7]))

    assert ordinals(found).index(7) < 3
    assert sorted(ordinals(found)) == list(range(10))
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


async def test_the_order_of_the_search_still_counts() -> None:
    """Of passages equally near the one that the search put first stays first."""
    found = await Reranker(Counting(), milliseconds=5000).rerank("apple", hits(10, apples=[2, 5]))

    assert ordinals(found).index(2) < ordinals(found).index(5) < 5


async def test_only_the_best_are_embedded_and_each_once() -> None:
    """At most 40 passages are embedded, and none of them again for the next question."""
    embedder = Counting()
    reranker = Reranker(embedder, milliseconds=5000)

    first = await reranker.rerank("apple", hits(60, apples=[50]))
    await reranker.rerank("apple pie", hits(60))

    assert ordinals(first)[40:] == list(range(40, 60))
    assert len(embedder.embedded) == 40


async def test_time_is_kept() -> None:
    """What there is no time for keeps its place, and the next question goes on from there."""
    embedder = Counting(seconds=0.05)
    reranker = Reranker(embedder, milliseconds=150)
    loop = asyncio.get_running_loop()

    began = loop.time()
    await reranker.rerank("apple", hits(40))
    first, took = len(embedder.embedded), loop.time() - began
    await reranker.rerank("apple", hits(40))

    assert 0 < first < 40
    assert took < 1
    assert len(embedder.embedded) == len(set(embedder.embedded)) > first


@pytest.mark.parametrize("at", ["query", "document"])
@pytest.mark.parametrize("error", [BackendError("the server is gone"), TimeoutError()], ids=["error", "time"])
async def test_a_failing_embedder_changes_nothing(error: Exception, at: str) -> None:
    """Without the reranker the order is that of the search, and it is told that it was left out."""
    before = hits(10)

    with gathering() as degraded:
        assert await Reranker(Failing(error, at), milliseconds=1000).rerank("apple", before) == before
    assert [each.stage for each in degraded] == ["reranker"]
