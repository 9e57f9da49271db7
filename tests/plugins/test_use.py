"""The embedder ``use``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import pytest_asyncio

from openkimi import ConfigError, Embedder, Vectors
from openkimi.testing import open_component
from openkimi_use import register_embedders
from openkimi_use.batches import LARGEST_BATCH, LARGEST_BATCH_BYTES, LONGEST_PIECE, batches
from openkimi_use.embedder import DIMENSIONS, UseEmbedder
from openkimi_use.worker import Urgency, Worker

(PROVIDER,) = register_embedders()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def use() -> AsyncIterator[Embedder]:
    async with open_component(PROVIDER) as embedder:
        yield embedder


pytestmark = pytest.mark.asyncio(loop_scope="module")


class GatedEncoder:
    """Encodes a batch only when told to, and remembers in which order texts came."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def __call__(self, texts: list[str]) -> Vectors:
        self.seen.append(texts)
        self.started.release()
        assert self.gate.acquire(timeout=30)
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        vectors[:, 0] = [len(text) for text in texts]
        return vectors

    async def wait_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=30)

    def open(self) -> None:
        self.gate.release(1_000)


@pytest_asyncio.fixture(loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("test-use")
    yield worker
    await asyncio.to_thread(worker.close)


@pytest.mark.parametrize("input_type", ["query", "document"])
async def test_nothing_to_embed_is_zeros(use: Embedder, input_type: str) -> None:
    """A text without visible characters gets zeros and leaves the others alone."""
    vectors = await use.embed(["", " \n\t\u3000", "\u200b\ufeff", "text"], input_type=input_type)  # type: ignore[arg-type]

    assert not vectors[:3].any()
    assert np.linalg.norm(vectors[3]) == pytest.approx(1, abs=1e-5)


async def test_chinese_question_finds_english_passage(use: Embedder) -> None:
    """A Chinese question is nearer to the English passage that answers it than to others, and the reverse."""
    passages = [
        "The spare disk is added to the array when one of its members fails.",
        "The president asked Congress to extend price control for another year.",
        "Bake the bread for forty minutes until the crust is brown.",
        "The museum opens at nine in the morning and is closed on Mondays.",
    ]
    questions = ["磁盘坏了以后阵列会怎么样？", "总统要求国会做什么？", "面包要烤多久？", "博物馆几点开门？"]

    similarity = await use.embed(questions, input_type="query") @ (await use.embed(passages)).T

    assert similarity.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert similarity.argmax(axis=0).tolist() == [0, 1, 2, 3]


async def test_long_text_is_the_mean_of_its_pieces(use: Embedder) -> None:
    """A long text is embedded whole, its end as well as its beginning."""
    bread, disk = "The bread is baked in the oven. " * 80, "The disk array is rebuilt. " * 80

    vectors = await use.embed([bread + disk, bread, disk])

    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[2] > vectors[1] @ vectors[2] + 0.1
    assert vectors[0] @ vectors[1] > vectors[2] @ vectors[1] + 0.1


async def test_two_hundred_calls_at_once(use: Embedder) -> None:
    """Many small calls at once each get their own vector."""
    texts = [f"question {number} about item {number * 7}" for number in range(200)]

    vectors = await asyncio.gather(*(use.embed([text], input_type="query") for text in texts))

    assert np.allclose(np.concatenate(vectors), await use.embed(texts), atol=1e-4)


async def test_fingerprint_names_the_weights(use: Embedder) -> None:
    """The fingerprint changes with the version of the weights."""
    other = UseEmbedder(GatedEncoder(), None, version="9.9")  # type: ignore[arg-type]

    assert other.fingerprint != use.fingerprint
    assert "512" in use.fingerprint


async def test_query_overtakes_a_big_batch(worker: Worker) -> None:
    """A query is encoded before the waiting documents, however many there are."""
    encoder = GatedEncoder()
    embedder = UseEmbedder(encoder, worker, version="1")
    documents = asyncio.create_task(embedder.embed(["document"] * (LARGEST_BATCH * 20)))
    await encoder.wait_started()

    query = asyncio.create_task(embedder.embed(["query"], input_type="query"))
    await asyncio.sleep(0)
    encoder.open()
    await query

    assert encoder.seen.index(["query"]) <= 2
    assert not documents.done()
    assert (await documents).shape == (LARGEST_BATCH * 20, 512)


async def test_a_few_documents_overtake_many(worker: Worker) -> None:
    """What a search needs at once does not take turns with what is made in the background."""
    encoder = GatedEncoder()
    embedder = UseEmbedder(encoder, worker, version="1")
    many = asyncio.create_task(embedder.embed(["many"] * (LARGEST_BATCH * 20)))
    await encoder.wait_started()
    few = asyncio.create_task(embedder.embed(["few"] * 12))
    await asyncio.sleep(0)
    encoder.open()

    await few

    assert not many.done()
    assert [batch[0] for batch in encoder.seen].index("few") <= 2
    await many


async def test_two_big_batches_take_turns(worker: Worker) -> None:
    """A second large call does not wait until the first is through."""
    encoder = GatedEncoder()
    embedder = UseEmbedder(encoder, worker, version="1")
    first = asyncio.create_task(embedder.embed(["first"] * (LARGEST_BATCH * 10)))
    await encoder.wait_started()
    second = asyncio.create_task(embedder.embed(["second"] * (LARGEST_BATCH * 10)))
    await asyncio.sleep(0)

    encoder.open()
    await asyncio.gather(first, second)

    order = [batch[0] for batch in encoder.seen]
    assert order.index("second") <= 2
    assert "first" in order[order.index("second") :]


async def test_cancelled_call_stops_after_the_batch_at_hand(worker: Worker) -> None:
    """When a call is cancelled no further batch of it is encoded."""
    encoder = GatedEncoder()
    embedder = UseEmbedder(encoder, worker, version="1")
    documents = asyncio.create_task(embedder.embed(["document"] * 10_000))
    await encoder.wait_started()

    documents.cancel()
    with pytest.raises(asyncio.CancelledError):
        await documents
    encoder.open()
    await embedder.embed(["query"], input_type="query")

    assert [batch[0] for batch in encoder.seen] == ["document", "query"]


async def test_a_repeated_query_is_encoded_once(worker: Worker) -> None:
    """Recent queries are remembered, documents are not, and older ones are forgotten."""
    encoder = GatedEncoder()
    encoder.open()
    embedder = UseEmbedder(encoder, worker, version="1")

    first = await embedder.embed(["q", "q", "r"], input_type="query")
    again = await embedder.embed(["r", "q"], input_type="query")
    await embedder.embed(["q"])

    assert encoder.seen == [["q", "r"], ["q"]]
    assert np.array_equal(first[[2, 0]], again)
    await embedder.embed([str(number) for number in range(100)], input_type="query")
    await embedder.embed(["q"], input_type="query")
    assert encoder.seen[-1] == ["q"]


async def test_a_failing_encoder_fails_its_call_alone(worker: Worker) -> None:
    """An error reaches the call that caused it and the worker goes on."""

    def encode(texts: list[str]) -> Vectors:
        if "bad" in texts:
            raise ValueError("bad text")
        return np.ones((len(texts), DIMENSIONS), dtype=np.float32)

    embedder = UseEmbedder(encode, worker, version="1")

    with pytest.raises(ValueError, match="bad text"):
        await embedder.embed(["bad"])
    assert (await embedder.embed(["good"])).any()


async def test_closing_cancels_what_waits() -> None:
    """A closed worker ends its thread, cancels jobs that wait and takes no more."""
    worker = Worker("test-close")
    entered, leave = threading.Event(), threading.Event()
    job: Callable[[], bool] = lambda: entered.set() or leave.wait(30)  # type: ignore[func-returns-value]  # noqa: E731
    running = worker.submit(Urgency.DOCUMENT, job)
    waiting = worker.submit(Urgency.DOCUMENT, lambda: True)
    assert await asyncio.to_thread(entered.wait, 30)

    closing = asyncio.create_task(asyncio.to_thread(worker.close))
    leave.set()
    await closing

    assert running.result() is True
    assert waiting.cancelled() or waiting.result() is True
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(Urgency.QUERY, lambda: None)


async def test_batches_are_small() -> None:
    """No batch has more texts or bytes than it may, and no piece is longer than the encoder should read."""
    texts = ["短文本。" * 100, "word " * 3_000, "", "z" * 9_999] + ["tiny"] * 100

    found = list(batches(texts))

    assert all(len(batch) <= LARGEST_BATCH for batch in found)
    assert all(len(batch) == 1 or sum(p.weight for p in batch) <= LARGEST_BATCH_BYTES for batch in found)
    assert all(len(piece.text) <= LONGEST_PIECE for batch in found for piece in batch)
    joined = [""] * len(texts)
    for batch in found:
        for piece in batch:
            joined[piece.number] += piece.text
    assert joined == texts


async def test_unknown_option_is_named() -> None:
    """A misspelt option is refused with its name."""
    with pytest.raises(ConfigError, match="thread"):
        async with open_component(PROVIDER, thread=2):
            pass
