"""What every backend promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast, get_args

import pytest

from openkimi.contracts import Backend, Feature
from openkimi.messages import (
    Delta,
    FinishReason,
    GenerateRequest,
    Message,
    ResponseFormat,
    TokenLogprob,
    Tool,
    ToolChoice,
)
from openkimi.testing.contracts.contract import Contract, promise
from openkimi.testing.contracts.texts import LONE_SURROGATE, any_text
from openkimi.testing.contracts.watching import flowing, give_up

_AT_ONCE = 4
_TOOL = Tool(
    name="get_weather",
    description="Tell the weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "boolean"}},
    "required": ["answer"],
    "additionalProperties": False,
}


class BackendContract(Contract):
    """What every backend promises; features are tried where the backend claims them.

    ``question`` is asked where an answer of some length is wanted. ``counts_exactly`` is False where another
    server counts, so that ``usage`` and ``count_prompt`` may differ. ``repeatable`` is False where a seed
    does not make an answer the same beside other requests.
    """

    contract = Backend
    question = "Count from one to twenty in words."
    counts_exactly = True
    repeatable = True

    def request(self, text: str | None = None, **settings: Any) -> GenerateRequest:
        """Ask for a short answer that depends on no chance."""
        message = Message(role="user", content=self.question if text is None else text)
        return GenerateRequest(
            messages=(message,), **{"max_tokens": 16, "temperature": 0.0, "seed": 7, **settings}
        )

    async def answer(self, backend: Backend, request: GenerateRequest | None = None) -> list[Delta]:
        """Have a request answered to its end."""
        async with closing(backend, request or self.request()) as stream:
            return [delta async for delta in stream]

    # What it is

    @promise
    async def test_the_window_is_a_number_of_tokens(self, backend: Backend) -> None:
        """``context_window`` is positive and stays as it is."""
        assert backend.context_window > 0
        assert backend.context_window == backend.context_window

    @promise
    async def test_what_it_says_of_itself_can_be_relied_on(self, backend: Backend) -> None:
        """``features`` are known ones; ``parameters`` and ``concurrency`` are at least 1, or None."""
        assert set(backend.features) <= set(get_args(Feature))
        assert backend.parameters is None or backend.parameters >= 1
        assert backend.concurrency is None or backend.concurrency >= 1
        assert isinstance(backend.takes_turns, bool)

    # The answer

    @promise
    async def test_only_the_last_delta_has_a_reason(self, backend: Backend) -> None:
        """An answer ends with a delta that has a ``finish_reason``; none before has, and none follows."""
        deltas = await self.answer(backend)

        assert all(isinstance(delta, Delta) for delta in deltas)
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish_reason in get_args(FinishReason)

    @promise
    async def test_there_is_one_choice(self, backend: Backend) -> None:
        """``index`` is 0 in every delta: several answers are several requests."""
        assert {delta.index for delta in await self.answer(backend)} == {0}

    @promise
    async def test_the_answer_says_something_that_can_be_sent(self, backend: Backend) -> None:
        """A question gets a text, and every text can be encoded as UTF-8."""
        deltas = await self.answer(backend)

        assert text_of(deltas).strip()
        for delta in deltas:
            (delta.content + delta.reasoning).encode()

    @promise
    async def test_max_tokens_bounds_the_answer(self, backend: Backend) -> None:
        """An answer has ``max_tokens`` tokens at most, and ends with ``length`` where that cut it."""
        for limit in (1, 2, 5):
            deltas = await self.answer(backend, self.request(max_tokens=limit))
            usage = deltas[-1].usage
            [counted] = await backend.count_tokens([text_of(deltas)])
            written = usage.completion_tokens if usage else counted

            assert deltas[-1].finish_reason in {"length", "stop"}
            assert written <= limit or not self.counts_exactly

    @promise
    async def test_usage_is_what_was_counted(self, backend: Backend) -> None:
        """Where ``usage`` is given its prompt has as many tokens as ``count_prompt`` tells, to the token."""
        request = self.request()
        usage = (await self.answer(backend, request))[-1].usage
        if usage is None:
            pytest.skip("the backend gives no usage: OpenKimi counts for it")

        assert 0 <= usage.cached_tokens <= usage.prompt_tokens
        assert 0 <= usage.reasoning_tokens <= usage.completion_tokens
        if self.counts_exactly:
            assert usage.prompt_tokens == await backend.count_prompt(request)

    @promise
    async def test_an_answer_asked_for_whole_is_the_same(self, backend: Backend) -> None:
        """``stream`` False allows one delta for all; what the answer says does not depend on it."""
        streamed = await self.answer(backend, self.request(stream=True))
        whole = await self.answer(backend, self.request(stream=False))

        if self.repeatable and "seed" in backend.features:
            assert text_of(whole) == text_of(streamed)
        assert whole[-1].finish_reason in get_args(FinishReason)

    @promise
    async def test_any_sampling_will_do(self, backend: Backend) -> None:
        """The ends of the ranges of ``temperature`` and ``top_p``, and any ``seed``, are answered."""
        for settings in (
            {"temperature": 2.0, "top_p": 1.0},
            {"temperature": 1.0, "top_p": 0.0},
            {"seed": None},
            {"seed": -(2**63)},
            {"seed": 2**63 - 1},
            {"user": "somebody", "model": "any/name", "limited": False, "share": "one request"},
        ):
            assert (await self.answer(backend, self.request(**settings)))[-1].finish_reason

    @promise
    async def test_an_answer_may_fill_the_window(self, backend: Backend) -> None:
        """Prompt and ``max_tokens`` may be as many as ``context_window``, by ``count_prompt``."""
        request = self.request()
        room = backend.context_window - await backend.count_prompt(request)

        async with closing(backend, self.request(max_tokens=room)) as stream:
            first = await anext(stream)

        assert isinstance(first, Delta)

    # Any text

    @any_text
    @promise
    async def test_any_text_is_answered(self, backend: Backend, text: str) -> None:
        """Emoji, control characters, markers of templates and nothing at all are only text."""
        deltas = await self.answer(backend, self.request(text, max_tokens=4))

        assert deltas[-1].finish_reason
        if text != LONE_SURROGATE:
            text_of(deltas).encode()

    @any_text
    @promise
    async def test_any_text_is_counted(self, backend: Backend, text: str) -> None:
        """The prompt of any text has a number of tokens, and so has the text; none for an empty one."""
        [alone] = await backend.count_tokens([text])
        prompt = await backend.count_prompt(self.request(text))

        assert isinstance(alone, int)
        assert alone >= 0
        assert text or alone == 0
        assert prompt >= 0

    @pytest.mark.parametrize(
        "roles",
        [("system",), ("system", "user"), ("developer", "user"), ("user", "user"), ("user", "assistant")],
        ids="-".join,
    )
    @promise
    async def test_any_order_of_roles_is_answered(self, backend: Backend, roles: Sequence[Any]) -> None:
        """Conversations begin and end with whom they like."""
        messages = tuple(Message(role=role, content=f"I am the {role}.") for role in roles)
        request = GenerateRequest(messages=messages, max_tokens=4, temperature=0.0)

        assert await backend.count_prompt(request) >= 0
        assert (await self.answer(backend, request))[-1].finish_reason

    # Counting

    @promise
    async def test_texts_are_counted_in_their_order(self, backend: Backend) -> None:
        """There is one count for each text, whatever stands beside it; none for no text."""
        texts = ["", "word", "one two three four", "灯塔", "word"]

        together = await backend.count_tokens(texts)
        alone = [(await backend.count_tokens([text]))[0] for text in texts]

        assert list(together) == alone
        assert list(await backend.count_tokens([])) == []

    @promise
    async def test_more_text_has_more_tokens(self, backend: Backend) -> None:
        """A hundred times the text costs more, counted alone and in a prompt."""
        short, long = "The tide turns. ", "The tide turns. " * 100
        counts = await backend.count_tokens([short, long])

        assert counts[0] < counts[1]
        assert await backend.count_prompt(self.request(short)) < await backend.count_prompt(
            self.request(long)
        )

    @promise
    async def test_counting_a_book_holds_nobody_up(self, backend: Backend) -> None:
        """A million characters are counted while the event loop goes on."""
        async with flowing(self.longest_pause):
            [count] = await backend.count_tokens(["The tide turns at noon. " * 40_000])
            await backend.count_prompt(self.request("The tide turns at noon. " * 40_000))

        assert count > 40_000

    @promise
    async def test_counting_does_not_wait_for_an_answer(self, backend: Backend) -> None:
        """Tokens are counted while an answer is on its way, and rightly so."""
        alone = await backend.count_tokens(["one two three"])
        async with closing(backend, self.request(max_tokens=64)) as stream:
            await anext(stream)

            assert await backend.count_tokens(["one two three"]) == alone
            assert await backend.count_prompt(self.request()) >= 0

    # Leaving

    @promise
    async def test_a_closed_stream_frees_what_it_held(self, backend: Backend) -> None:
        """Streams that are left half-way make room for the next ones, however many there were."""
        for _ in range(2 * (backend.concurrency or _AT_ONCE) + 1):
            stream = cast("Any", backend.generate(self.request(max_tokens=self.long_answer(backend))))
            await anext(stream)
            await stream.aclose()

        assert (await asyncio.wait_for(self.answer(backend), self.patience / 2))[-1].finish_reason

    @promise
    async def test_a_stream_may_be_closed_unread_and_twice(self, backend: Backend) -> None:
        """``aclose()`` before the first delta, and after it, does nothing more than end the work."""
        stream = cast("Any", backend.generate(self.request()))
        await stream.aclose()
        await stream.aclose()

        assert (await self.answer(backend))[-1].finish_reason

    @promise
    async def test_a_cancelled_request_stops_soon(self, backend: Backend) -> None:
        """Whoever is cancelled while an answer comes is let go at once, and the next is answered."""
        for after in (0.0, 0.01, 0.1):
            request = self.request(max_tokens=self.long_answer(backend))
            await give_up(self.answer(backend, request), after=after, soon=self.soon)

        assert (await self.answer(backend))[-1].finish_reason

    @promise
    async def test_one_that_waits_may_be_cancelled(self, backend: Backend) -> None:
        """A request that waits for its turn can leave; those before and behind it are answered."""
        if backend.concurrency is None:
            pytest.skip("nobody waits")
        busy = [asyncio.create_task(self.answer(backend)) for _ in range(backend.concurrency)]
        await asyncio.sleep(0)
        leaving = asyncio.create_task(self.answer(backend))
        behind = asyncio.create_task(self.answer(backend))
        await asyncio.sleep(0)

        leaving.cancel()
        answers = await asyncio.gather(*busy, behind)

        assert all(deltas[-1].finish_reason for deltas in answers)

    # Beside each other

    @promise
    async def test_requests_at_once_get_answers_of_their_own(self, backend: Backend) -> None:
        """More requests than there are places are all answered, each as it is alone."""
        texts = [f"{self.question} Number {n}." for n in range(2 * min(backend.concurrency or 8, 8))]
        together = await asyncio.gather(*(self.answer(backend, self.request(text)) for text in texts))
        alone = [await self.answer(backend, self.request(text)) for text in texts[:3]]

        assert all(deltas[-1].finish_reason in get_args(FinishReason) for deltas in together)
        if self.repeatable and "seed" in backend.features:
            assert [text_of(deltas) for deltas in together[:3]] == [text_of(deltas) for deltas in alone]

    # Memory

    @promise
    async def test_a_trim_changes_no_answer(self, backend: Backend) -> None:
        """``trim`` in the middle of an answer lets it go on, and the next one is as those before."""
        before = await self.answer(backend)
        async with closing(backend, self.request()) as stream:
            meanwhile = [await anext(stream)]
            await backend.trim()
            meanwhile += [delta async for delta in stream]
        afterwards = await self.answer(backend)

        assert meanwhile[-1].finish_reason
        assert afterwards[-1].finish_reason
        if self.repeatable and "seed" in backend.features:
            assert text_of(meanwhile) == text_of(before) == text_of(afterwards)

    # Features

    def wants(self, backend: Backend, feature: Feature) -> None:
        """Skip a test of a feature that the backend does not claim."""
        if feature not in backend.features:
            pytest.skip(f"the backend does not claim {feature!r}")

    def long_answer(self, backend: Backend) -> int:
        """Choose a ``max_tokens`` that an answer does not reach while a test looks at it."""
        return min(2_000, backend.context_window // 2)

    @promise
    async def test_a_seed_repeats_an_answer(self, backend: Backend) -> None:
        """Feature ``seed``: the same request with the same seed has the same answer."""
        self.wants(backend, "seed")
        request = self.request(temperature=1.0, seed=11)

        assert text_of(await self.answer(backend, request)) == text_of(await self.answer(backend, request))

    @promise
    async def test_a_stop_sequence_is_not_shown(self, backend: Backend) -> None:
        """Feature ``stop``: the answer ends right before the sequence, across the borders of tokens."""
        self.wants(backend, "stop")
        whole = text_of(await self.answer(backend))
        stop = whole[len(whole) // 2 :][:3]

        deltas = await self.answer(backend, self.request(stop=(stop, "never said")))

        assert text_of(deltas) == whole[: whole.index(stop)]
        assert deltas[-1].finish_reason == "stop"

    @promise
    async def test_each_token_has_its_logprob(self, backend: Backend) -> None:
        """Feature ``logprobs``: they are of the tokens that are shown, with alternatives best first."""
        self.wants(backend, "logprobs")
        deltas = await self.answer(backend, self.request(logprobs=True, top_logprobs=2))
        tokens: list[TokenLogprob] = [token for delta in deltas for token in delta.logprobs]

        assert "".join(token.token for token in tokens) == text_of(deltas)
        for token in tokens:
            best = [other.logprob for other in token.top_logprobs]
            assert token.logprob <= 0
            assert len(best) <= 2
            assert best == sorted(best, reverse=True)

    @promise
    async def test_a_schema_holds_the_answer(self, backend: Backend) -> None:
        """Feature ``response_format``: an answer that is not cut off is JSON, and fits the schema."""
        self.wants(backend, "response_format")
        free = ResponseFormat(type="json_object")
        held = ResponseFormat(type="json_schema", name="answer", schema=_SCHEMA, strict=True)
        text = f"{self.question} Answer in JSON."

        anything = await self.answer(backend, self.request(text, response_format=free, max_tokens=200))
        fitting = await self.answer(backend, self.request(text, response_format=held, max_tokens=200))

        if anything[-1].finish_reason == "stop":
            assert isinstance(json.loads(text_of(anything)), dict)
        if fitting[-1].finish_reason == "stop":
            assert [type(value) for value in json.loads(text_of(fitting)).values()] == [bool]

    @promise
    async def test_a_tool_that_must_be_called_is(self, backend: Backend) -> None:
        """Feature ``tools``: a call's id and name come with its first piece, and its arguments add up."""
        self.wants(backend, "tools")
        required = ToolChoice(mode="required")
        request = self.request(tools=(_TOOL,), tool_choice=required, max_tokens=120)
        deltas = await self.answer(backend, request)
        pieces = [piece for delta in deltas for piece in delta.tool_calls if piece.index == 0]

        assert pieces[0].id
        assert pieces[0].name == _TOOL.name
        assert not any(piece.id or piece.name for piece in pieces[1:])
        if deltas[-1].finish_reason != "length":
            assert deltas[-1].finish_reason == "tool_calls"
            assert isinstance(json.loads("".join(piece.arguments for piece in pieces)), dict)

    @promise
    async def test_tools_count(self, backend: Backend) -> None:
        """Feature ``tools``: those that are offered are part of the prompt, and are counted with it."""
        self.wants(backend, "tools")

        assert await backend.count_prompt(self.request(tools=(_TOOL,))) > await backend.count_prompt(
            self.request()
        )

    @promise
    async def test_penalties_and_bias_are_taken(self, backend: Backend) -> None:
        """Features ``penalties`` and ``logit_bias``: their whole range is answered."""
        if "penalties" in backend.features:
            for penalty in (-2.0, 2.0):
                request = self.request(presence_penalty=penalty, frequency_penalty=penalty)
                assert (await self.answer(backend, request))[-1].finish_reason
        if "logit_bias" in backend.features:
            for bias in (-100.0, 100.0):
                request = self.request(logit_bias={1: bias}, max_tokens=2)
                assert (await self.answer(backend, request))[-1].finish_reason

    @promise
    async def test_text_is_written_into_a_gap(self, backend: Backend) -> None:
        """Feature ``suffix``: the text between the message and the suffix is asked for."""
        self.wants(backend, "suffix")
        request = self.request("def add(a, b):\n    return", suffix="\n\nprint(add(1, 2))")

        assert await backend.count_prompt(request) >= 0
        assert (await self.answer(backend, request))[-1].finish_reason


def closing(backend: Backend, request: GenerateRequest) -> aclosing[Any]:
    """Close the stream of an answer at the end of an ``async with``."""
    return aclosing(cast("Any", backend.generate(request)))


def text_of(deltas: Sequence[Delta]) -> str:
    """Join what the deltas say."""
    return "".join(delta.content for delta in deltas)
