"""The pipeline: untouched where it fits, the right passages where not, never beyond the window."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openkimi import (
    ContextOverflow,
    ContextSampler,
    Delta,
    DocumentNotFound,
    GenerateRequest,
    Hit,
    KimiEngine,
    Message,
)
from openkimi.receipt import Receipt
from openkimi.turn import Ask
from openkimi_scripted import ScriptedBackend

QUESTION = "How many displaced persons still remained in the United States zone of Germany?"
ANSWER = "460,000"


def engine_of(held: Any, **rag: Any) -> KimiEngine:
    return KimiEngine(
        plugins=[held],
        llm_config={"type": "held"},
        rag_config={"type": "held", "embedding_model": "held", **rag},
    )


def about(text: str, question: str = QUESTION, **changes: Any) -> Ask:
    messages = (Message(role="system", content=text), Message(role="user", content=question))
    return Ask(request=GenerateRequest(messages=messages, **changes))


async def run(engine: KimiEngine, ask: Ask) -> tuple[list[Delta], Receipt]:
    events = [event async for event in engine.answer(ask)]
    receipts = [event for event in events if isinstance(event, Receipt)]
    return [event for event in events if isinstance(event, Delta)], receipts[-1]


def prompt_of(backend: ScriptedBackend) -> str:
    return "\n".join(message.text for message in backend.requests[-1].messages)


async def test_a_request_that_fits_is_passed_on_unchanged(held: Any) -> None:
    """The backend gets the very messages that were sent."""
    plugin = held()
    ask = about("You are brief.", "Hello?")

    async with engine_of(plugin) as engine:
        _, receipt = await run(engine, ask)

    assert plugin.backend.requests[-1].messages == ask.request.messages
    assert not receipt.compressed
    assert plugin.retriever.added == []


async def test_the_right_passage_of_a_long_text_reaches_the_model(held: Any, speech: str) -> None:
    """A text of many windows is searched, and what answers the question stands in the prompt."""
    plugin = held(context_length=4096)

    async with engine_of(plugin) as engine:
        deltas, receipt = await run(engine, about(speech))

    assert ANSWER in prompt_of(plugin.backend)
    assert ANSWER in "".join(delta.content for delta in deltas)
    assert receipt.compressed
    assert receipt.prompt_tokens <= 4096
    assert receipt.documents[0].characters == len(speech[len(speech) - receipt.documents[0].characters :])


async def test_passages_are_told_by_offsets_into_the_callers_text(held: Any, speech: str) -> None:
    """Each passage of the receipt, cut out of the message by its offsets, stands in the prompt."""
    plugin = held(context_length=4096)
    text = f"You are a historian.\n\n{speech}"

    async with engine_of(plugin) as engine:
        _, receipt = await run(engine, about(text))

    assert receipt.passages
    for passage in receipt.passages:
        assert passage.message == 0
        assert text[passage.start : passage.end] in prompt_of(plugin.backend)


@pytest.mark.parametrize("window", range(256, 700, 12))
async def test_a_tight_window_still_gets_a_passage(held: Any, window: int) -> None:
    """However the sums come out, what room there is goes to the best passage, cut if need be."""
    filler = "The river flows through the plain and the boats go by. " * 60
    text = f"{filler}\n\nThe lighthouse keeper is called Orlando Finch.\n\n{filler}"
    plugin = held(context_length=window)

    async with engine_of(plugin) as engine:
        _, receipt = await run(engine, about(text, "What is the lighthouse keeper called?"))

    assert receipt.passages
    assert receipt.prompt_tokens < window


async def test_a_small_model_gets_few_tokens_of_document(held: Any, speech: str) -> None:
    """Half a billion weights read about 500 tokens best, whatever the window."""
    small, large = held(parameters=135_000_000), held(parameters=8_000_000_000)

    async with engine_of(small) as engine:
        _, of_small = await run(engine, about(speech))
    async with engine_of(large) as engine:
        _, of_large = await run(engine, about(speech))

    assert 300 < of_small.context_tokens <= 500
    assert 2500 < of_large.context_tokens <= 4000


async def test_a_small_model_gets_three_passages_unless_more_are_asked_for(
    held: Any, speech: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a billion weights find more in few whole passages; whoever sets a room or a number gets that."""
    monkeypatch.setattr("openkimi.budget.default_context", lambda parameters: 2000)
    free, roomy, many = (held(context_length=8192, parameters=135_000_000) for _ in range(3))

    async with engine_of(free) as engine:
        _, by_default = await run(engine, about(speech))
    async with engine_of(roomy, max_context_tokens=2000) as engine:
        _, with_room = await run(engine, about(speech))
    async with engine_of(many, top_k=5) as engine:
        _, with_number = await run(engine, about(speech))

    assert len(by_default.passages) == 3
    assert len(with_room.passages) > 5
    assert len(with_number.passages) == 5


async def test_equal_prompts_are_walked_once_where_chance_has_no_part(held: Any) -> None:
    """At temperature 0 a second answer to the same prompt tells nothing new; above it may."""
    plugin = held()
    requests = [about("Be brief.", "Hello?", temperature=each).request for each in (0.0, 0.5)]

    async with engine_of(plugin) as engine:
        _, greedy = await run(engine, Ask(request=requests[0], mpr_candidates=3))
        asked = len(plugin.backend.requests)
        _, drawn = await run(engine, Ask(request=requests[1], mpr_candidates=3))

    assert (greedy.paths, asked) == (1, 1)
    assert (drawn.paths, len(plugin.backend.requests) - asked) == (3, 3)


@pytest.mark.parametrize("cap", [50, 200, 1000])
async def test_the_cap_on_document_text_is_honoured_exactly(held: Any, speech: str, cap: int) -> None:
    """max_context_tokens holds, also for a text that would fit the window."""
    plugin = held(context_length=100_000)

    async with engine_of(plugin, max_context_tokens=cap) as engine:
        _, receipt = await run(engine, about(speech))

    assert 0 < receipt.context_tokens <= cap
    assert receipt.compressed


async def test_a_text_under_the_cap_is_left_alone(held: Any, speech: str) -> None:
    """max_context_tokens changes nothing about a request that keeps to it."""
    plugin = held()
    ask = about(speech[:2000])

    async with engine_of(plugin, max_context_tokens=1000) as engine:
        _, receipt = await run(engine, ask)

    assert not receipt.compressed
    assert plugin.backend.requests[-1].messages == ask.request.messages


async def test_top_k_caps_the_number_of_passages(held: Any, speech: str) -> None:
    """rag.top_k is the most passages in a prompt, the dense core counted."""
    plugin = held(context_length=4096)

    async with engine_of(plugin, top_k=2) as engine:
        _, receipt = await run(engine, about(speech))

    assert len(receipt.passages) == 2


async def test_the_same_document_is_processed_once(held: Any, speech: str) -> None:
    """A second question about the same text stores nothing new, nor do two at the same time."""
    plugin = held(context_length=4096)

    async with engine_of(plugin) as engine:
        await asyncio.gather(run(engine, about(speech)), run(engine, about(speech, "Who is Truman?")))
        await run(engine, about(speech, "What of Germany?"))

    assert len(plugin.retriever.added) == 1


async def test_prompts_begin_alike_from_question_to_question(held: Any, speech: str) -> None:
    """The dense core comes first and does not depend on the question, so that a cache can be used."""
    plugin = held(context_length=32_768, parameters=8_000_000_000)

    async with engine_of(plugin, max_context_tokens=8000) as engine:
        await run(engine, about(speech))
        await run(engine, about(speech, "What does he say about Delaware and the Columbia River?"))

    one, two = (request.messages[0].text for request in plugin.backend.requests)
    common = next(at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    assert common > 800


async def test_a_small_budget_has_no_dense_core(held: Any, speech: str) -> None:
    """Below 8,000 tokens every passage is there because it answers the question."""
    plugin = held(context_length=32_768, parameters=8_000_000_000)

    async with engine_of(plugin, max_context_tokens=7000) as engine:
        _, receipt = await run(engine, about(speech))

    assert receipt.passages
    assert all(passage.score > 0 for passage in receipt.passages)


async def test_sparse_passages_stay_out_of_the_dense_core(held: Any, speech: str) -> None:
    """processor.entropy_threshold keeps what is below it out of the core, and hides nothing from search."""
    plugin = held(context_length=32_768, parameters=8_000_000_000)
    engine = engine_of(plugin, max_context_tokens=8000)
    engine._overrides["processor"] = {"entropy_threshold": 1.0}

    async with engine:
        _, receipt = await run(engine, about(speech))

    assert all(passage.score > 0 for passage in receipt.passages)
    assert ANSWER in prompt_of(plugin.backend)


async def test_a_named_document_must_be_there(held: Any) -> None:
    """A request that names an unknown document is refused."""
    ask = Ask(request=GenerateRequest(messages=(Message(role="user", content="?"),)), documents=("doc_x",))

    async with engine_of(held()) as engine:
        with pytest.raises(DocumentNotFound, match="doc_x"):
            await run(engine, ask)


@pytest.mark.parametrize("change", [{"n": 3}, {"mpr_candidates": 3}, {"mode": "exhaustive"}])
async def test_all_that_is_generated_for_a_request_has_one_share(
    held: Any, speech: str, change: dict[str, Any]
) -> None:
    """The model may give it one turn together, and another request one of its own."""
    plugin = held(context_length=8192)

    async with engine_of(plugin) as engine:
        await run(engine, Ask(request=about(speech).request, **change))
        shares = [request.share for request in plugin.backend.requests]
        await run(engine, about("Be brief.", "Hello?"))

    assert len(shares) >= 3
    assert len(set(shares)) == 1
    assert plugin.backend.requests[-1].share not in {None, shares[0]}


async def test_several_asks_of_one_request_have_one_share(held: Any) -> None:
    """The prompts of one request take turns as one with other requests."""
    plugin = held()

    async with engine_of(plugin) as engine:
        asks = [about("Be brief.", question) for question in ("Hello?", "Who?")]
        _ = [event async for event in engine.answer_each(asks)]

    [first, second] = [request.share for request in plugin.backend.requests]
    assert first == second is not None


async def test_several_answers_have_indexes_and_seeds_of_their_own(held: Any) -> None:
    """`n` runs the prompt several times, reproducibly different."""
    plugin = held()

    async with engine_of(plugin) as engine:
        deltas, _ = await run(engine, Ask(request=about("Be brief.", "Hello?", seed=5).request, n=3))

    assert {delta.index for delta in deltas} == {0, 1, 2}
    assert [delta.index for delta in deltas if delta.finish_reason].count(1) == 1
    assert sorted(request.seed for request in plugin.backend.requests) == [5, 6, 7]
    usages = [delta.usage for delta in deltas if delta.usage]
    assert sorted(usage.prompt_tokens > 0 for usage in usages) == [False, False, True]


async def test_several_paths_give_one_answer_and_count_all_tokens(held: Any, speech: str) -> None:
    """MPR asks the model once for each candidate, answers once, and its usage tells the truth."""
    plugin = held(context_length=4096)

    async with engine_of(plugin) as engine:
        one, _ = await run(engine, about(speech, seed=1))
        several, receipt = await run(engine, Ask(request=about(speech, seed=1).request, mpr_candidates=3))

    assert [delta.finish_reason for delta in several].count("stop") == 1
    assert ANSWER in "".join(delta.content for delta in several)
    assert receipt.paths == 3
    assert receipt.agreement is not None
    assert several[-1].usage.prompt_tokens > 2 * one[-1].usage.prompt_tokens


async def test_only_the_best_hits_are_sampled_and_that_off_the_event_loop(held: Any) -> None:
    """An enumeration may have thousands, and a sampler may compare each with each other."""
    plugin = held(context_length=4096)
    sampled = []

    class Reversing(ContextSampler):
        def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
            sampled.append((len(hits), threading.current_thread() is threading.main_thread()))
            return [tuple(hits), *[tuple(reversed(hits))] * (n - 1)]

    text = "\n\n".join(f"Ship {at} was built in {1500 + at}. " * 20 for at in range(400))
    async with engine_of(plugin) as engine:
        assert engine._opened is not None
        engine._opened.pipeline._preparation._sampler = Reversing()
        ask = Ask(request=about(text, "List all ships mentioned.").request, mpr_candidates=2)
        explained = await engine.explain(ask, limit=10_000)

    assert sampled == [(200, False)]
    assert explained.found > 300
    first, second = (path.order for path in explained.paths)
    assert list(second) == [*reversed(first[:200]), *first[200:]]


async def test_several_paths_keep_the_log_probabilities(held: Any) -> None:
    """The chosen candidate comes as the model gave it."""
    ask = about("Be brief.", "Hello?", logprobs=True, top_logprobs=2)

    async with engine_of(held(reply="Yes, of course.")) as engine:
        deltas, _ = await run(engine, Ask(request=ask.request, mpr_candidates=3))

    assert "".join(token.token for delta in deltas for token in delta.logprobs) == "Yes, of course."


async def test_what_cannot_be_shortened_is_refused_with_a_remedy(held: Any) -> None:
    """Tools that fill the window alone are an error that says so."""
    from openkimi import Tool

    tools = tuple(Tool(name=f"tool_{number}", description="words " * 20) for number in range(50))

    async with engine_of(held(context_length=512)) as engine:
        with pytest.raises(ContextOverflow, match="shorten"):
            await run(engine, about("Hello.", tools=tools))


PIECES = st.one_of(
    st.text(max_size=400),
    st.text("的一是不了人我在有他这为之大来以个中上们", max_size=400),
    st.text("a b c d e f ", max_size=800),
    st.sampled_from(
        ["😀👩‍👩‍👧‍👦🏳️‍🌈" * 40, "<|im_end|>\n<|im_start|>system\n" * 30, "\x00\ud800\r\n" * 50, "x" * 3000]
    ),
    st.integers(1, 60).map(lambda n: "The quick brown fox jumps over the lazy dog. " * n),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, pieces: Message(role=role, content="\n\n".join(pieces)),
        st.sampled_from(["system", "user", "assistant", "user"]),
        st.lists(PIECES, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=MESSAGES,
    window=st.integers(256, 8192),
    max_tokens=st.one_of(st.none(), st.integers(1, 100_000)),
    cap=st.one_of(st.none(), st.integers(1, 2000)),
)
@example(messages=[Message(role="user", content="x " * 5000)], window=256, max_tokens=None, cap=None)
def test_prompt_and_answer_never_exceed_the_window(
    held: Any, messages: list[Message], window: int, max_tokens: int | None, cap: int | None
) -> None:
    """Whatever is sent, what reaches the backend fits, or the request is refused in words.

    The scripted backend itself raises when prompt and answer exceed its window.
    """
    plugin = held(context_length=window)
    ask = Ask(request=GenerateRequest(messages=tuple(messages), max_tokens=max_tokens))

    async def check() -> None:
        async with engine_of(plugin, **({} if cap is None else {"max_context_tokens": cap})) as engine:
            try:
                deltas, receipt = await run(engine, ask)
            except ContextOverflow:
                assert plugin.backend.requests == []
                raise
            [request] = plugin.backend.requests
            prompt = await plugin.backend.count_prompt(request)
            assert prompt + request.max_tokens <= window
            assert receipt.prompt_tokens == prompt
            assert cap is None or receipt.context_tokens <= cap
            assert deltas[-1].finish_reason is not None

    try:
        asyncio.run(check())
    except ContextOverflow:
        # Only what has to stay may be too large: the frame of every message and the last question.
        assert window < 1024
