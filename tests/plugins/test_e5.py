"""The embedder ``e5``, with its real weights."""

import asyncio

import pytest

import openkimi_e5
from openkimi import BackendError, ConfigError, Message
from openkimi.config import build_config
from openkimi.engine import KimiEngine
from openkimi.messages import GenerateRequest
from openkimi.pipeline import Event
from openkimi.receipt import Receipt
from openkimi.testing import open_component
from openkimi.turn import Ask

PROVIDER = next(iter(openkimi_e5.register_embedders()))


async def test_meanings_are_near_across_languages() -> None:
    """A question is nearer to its answer than to another text, in the other language too."""
    async with open_component(PROVIDER) as embedder:
        [question] = await embedder.embed(["When do the ferries sail?"], input_type="query")
        near, translated, far = await embedder.embed(
            ["Boats leave the harbour at noon.", "渡轮中午从港口出发。", "The soup is made of beans."]
        )

    assert near @ question > far @ question
    assert translated @ question > far @ question


async def test_a_call_that_is_overtaken_by_the_end_fails_by_name() -> None:
    """Whoever waits when the embedder closes gets an error of the contract, not a cancellation."""
    async with open_component(PROVIDER) as embedder:
        calls = [
            asyncio.create_task(embedder.embed(["A sentence of several words. "] * 50)) for _ in range(3)
        ]
        await asyncio.sleep(0.1)
    late = embedder.embed(["too late"])

    for call in (*calls, late):
        with pytest.raises(BackendError, match="closed"):
            await call


async def test_it_reranks_by_config() -> None:
    """``rag.rerank_ms`` alone opens it, and the receipt shows its order."""
    fillers = [f"The {name} committee met in the hall and thanked its members." for name in "abcdefgh"]
    text = "\n\n".join([*fillers[:4], "A vet looks after sick sheep.", *fillers[4:]])
    processor = {"type": "entropy", "chunk_characters": 100}
    rag = {"persist": False, "max_context_tokens": 40}
    question = GenerateRequest(messages=(Message(role="user", content="Who helps an ill animal?"),))
    for extra in ({}, {"rerank_ms": 60_000}):
        async with KimiEngine(processor_config=processor, rag_config={**rag, **extra}) as engine:
            ask = Ask(request=question, ingested=(await engine.ingest(text),))
            events: list[Event] = [event async for event in engine.answer(ask)]
        receipt = next(event for event in events if isinstance(event, Receipt))
        scores = [passage.score for passage in receipt.passages]

        assert max(scores) > 0
    assert max(scores) > 0.2


def test_another_embedder_can_rerank() -> None:
    """The section ``reranker`` takes any kind of embedder and its options, and errors name it."""
    config = build_config({"rag": {"rerank_ms": 300}, "reranker": {"type": "use", "threads": 2}})

    assert config.reranker is not None
    assert config.reranker.provider.kind == "use"
    assert build_config({}).reranker is None
    with pytest.raises(ConfigError, match=r"^reranker\.type: no plugin offers"):
        build_config({"reranker": {"type": "nope"}})
    with pytest.raises(ConfigError, match=r"reranker\.thread: unknown option"):
        build_config({"reranker": {"type": "use", "thread": 2}})
