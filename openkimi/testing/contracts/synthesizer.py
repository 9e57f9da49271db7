"""What every synthesizer promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast, get_args

import pytest

from openkimi.contracts import Candidate, Embedder, Synthesis, Synthesizer
from openkimi.errors import BackendUnavailable, OpenKimiError
from openkimi.messages import Delta, FinishReason, Message, ToolCall, Usage
from openkimi.testing.contracts.contract import Contract, promise
from openkimi.testing.contracts.sampler import hit
from openkimi.testing.contracts.texts import EMPTY, TEXTS
from openkimi.testing.contracts.watching import flowing
from openkimi.testing.embedding import HashingEmbedder

_QUESTION = "In which year was the lighthouse of Quarrel Bay built?"
_PASSAGE = hit(0, 1.0, "The lighthouse of Quarrel Bay was built in 1913 by the harbour board.")


class Model:
    """Stands in for the model: remembers what it was asked, and writes a text or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[tuple[Message, ...]] = []
        self.open = 0
        self._fails = fails

    def __call__(self, messages: Sequence[Message]) -> AsyncGenerator[Delta, None]:
        """Answer as a backend would."""
        return self._answer(tuple(messages))

    async def _answer(self, messages: tuple[Message, ...]) -> AsyncGenerator[Delta, None]:
        self.asked.append(messages)
        self.open += 1
        try:
            await asyncio.sleep(0)
            if self._fails:
                raise BackendUnavailable("the model is busy")
            for word in ("It ", "was ", "built ", "in ", "1913."):
                yield Delta(content=word)
            yield Delta(finish_reason="stop", usage=Usage(prompt_tokens=20, completion_tokens=5))
        finally:
            self.open -= 1


def candidates(*texts: str, first: int = 0) -> list[Candidate]:
    """Make a candidate of each text, all of which read the same passage."""
    return [
        Candidate(index=first + at, text=text, context=(_PASSAGE,), usage=Usage(completion_tokens=9))
        for at, text in enumerate(texts)
    ]


_LONG = [f"Draft {n} says {' '.join(f'{n}word{m}' for m in range(80))}." for n in range(4)]
_CUT = Candidate(index=1, text="Cut off in the", finish_reason="length")
GIVEN = {
    "one": candidates("In 1913."),
    "one that is not the first": candidates("In 1913.", first=5),
    "those that agree": candidates("In 1913.", "It was built in 1913.", "1913"),
    "those that do not": candidates("In 1913.", "In 1744.", "Nobody knows.", "It was never built."),
    "long drafts": candidates(*_LONG),
    "an empty one": candidates("", "In 1913.", ""),
    "none that says something": candidates("", EMPTY["blank"], ""),
    "texts of all kinds": candidates(*TEXTS.values()),
    "one that was cut off": [*candidates("In 1913."), _CUT],
    "those that read nothing": [Candidate(index=n, text=f"In 191{n}.") for n in range(3)],
    "the most there are": candidates(*(f"In {1900 + n % 5}." for n in range(32))),
}
each_given = pytest.mark.parametrize("given", GIVEN.values(), ids=list(GIVEN))


class SynthesizerContract(Contract):
    """What every synthesizer promises."""

    contract = Synthesizer
    embedder: Embedder | None = HashingEmbedder()

    def test_it_needs_no_option(self) -> None:
        """A synthesizer is chosen by its name alone, so every option has a default."""
        self.provider.config()

    @each_given
    @promise
    async def test_an_answer_is_complete(self, synthesizer: Synthesizer, given: Sequence[Candidate]) -> None:
        """The answer's last delta, and no other, has a ``finish_reason``, and its text can be encoded."""
        synthesis = await synthesizer.synthesize(_QUESTION, given, Model())
        deltas = [delta async for delta in synthesis.answer]

        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish_reason in get_args(FinishReason)
        text_of(deltas).encode()

    @each_given
    @promise
    async def test_what_is_said_of_an_answer_is_in_bounds(
        self, synthesizer: Synthesizer, given: Sequence[Candidate]
    ) -> None:
        """``chosen`` and ``dissenting`` are indexes of candidates, ``agreement`` is from 0 to 1."""
        synthesis = await synthesizer.synthesize(_QUESTION, given, Model())
        await leave(synthesis)
        known = {candidate.index for candidate in given}

        assert synthesis.chosen is None or synthesis.chosen in known
        assert set(synthesis.dissenting) <= known - {synthesis.chosen}
        assert synthesis.agreement is None or -1e-9 <= synthesis.agreement <= 1 + 1e-9
        assert synthesis.supported in {None, True, False}

    @each_given
    @promise
    async def test_a_chosen_candidate_is_taken_as_it_is(
        self, synthesizer: Synthesizer, given: Sequence[Candidate]
    ) -> None:
        """Where a candidate is ``chosen``, by its ``index``, the answer is its text and its end."""
        synthesis = await synthesizer.synthesize(_QUESTION, given, Model())
        deltas = [delta async for delta in synthesis.answer]
        if synthesis.chosen is None:
            return
        chosen = chosen_of(given, synthesis)

        assert text_of(deltas) == chosen.text
        assert deltas[-1].finish_reason == chosen.finish_reason

    @promise
    async def test_one_candidate_is_the_answer(self, synthesizer: Synthesizer) -> None:
        """There is nothing to choose among one: it is the answer, and the model is not asked."""
        model = Model()
        synthesis = await synthesizer.synthesize(_QUESTION, GIVEN["one that is not the first"], model)
        deltas = [delta async for delta in synthesis.answer]

        assert (synthesis.chosen, text_of(deltas), model.asked) == (5, "In 1913.", [])

    @promise
    async def test_tool_calls_are_chosen_and_never_rewritten(self, synthesizer: Synthesizer) -> None:
        """Of candidates with tool calls one is the answer, with its calls; the model is not asked."""
        cities = ("Paris", "Rome", "北京")
        given = [
            Candidate(
                index=n,
                text="",
                finish_reason="tool_calls",
                tool_calls=(ToolCall(id=f"call_{n}", name="weather", arguments=json.dumps({"city": city})),),
            )
            for n, city in enumerate(cities)
        ]
        model = Model()
        synthesis = await synthesizer.synthesize(_QUESTION, given, model)
        deltas = [delta async for delta in synthesis.answer]
        pieces = [piece for delta in deltas for piece in delta.tool_calls]
        chosen = chosen_of(given, synthesis)

        assert model.asked == []
        assert "".join(piece.arguments for piece in pieces) == chosen.tool_calls[0].arguments
        assert (pieces[0].id, pieces[0].name) == (chosen.tool_calls[0].id, "weather")
        assert deltas[-1].finish_reason == "tool_calls"

    @promise
    async def test_json_is_chosen_and_never_rewritten(self, synthesizer: Synthesizer) -> None:
        """Of candidates in JSON, as made under a response format, one is the answer to the letter."""
        given = candidates(*(json.dumps({"text": draft, "n": n}) for n, draft in enumerate(_LONG)))
        model = Model()
        synthesis = await synthesizer.synthesize(_QUESTION, given, model)
        deltas = [delta async for delta in synthesis.answer]

        assert model.asked == []
        assert text_of(deltas) in [candidate.text for candidate in given]

    @each_given
    @promise
    async def test_a_model_that_fails_is_told_or_made_up_for(
        self, synthesizer: Synthesizer, given: Sequence[Candidate]
    ) -> None:
        """When the model fails there is an answer all the same, or an error of openkimi."""
        model = Model(fails=True)
        try:
            synthesis = await synthesizer.synthesize(_QUESTION, given, model)
            deltas = [delta async for delta in synthesis.answer]
        except OpenKimiError:
            deltas = [Delta(finish_reason="stop")]

        assert deltas[-1].finish_reason
        assert model.open == 0

    @each_given
    @promise
    async def test_leaving_an_answer_stops_the_model(
        self, synthesizer: Synthesizer, given: Sequence[Candidate]
    ) -> None:
        """When the answer is closed early, what it asked the model is closed with it."""
        model = Model()
        synthesis = await synthesizer.synthesize(_QUESTION, given, model)
        await anext(synthesis.answer)
        await leave(synthesis)

        assert model.open == 0

    @promise
    async def test_answers_at_once_do_not_mix(self, synthesizer: Synthesizer) -> None:
        """Several syntheses at the same time each choose among their own candidates."""

        async def answered(number: int) -> str:
            given = candidates(*[f"It is {number}."] * 3, first=number)
            synthesis = await synthesizer.synthesize(_QUESTION, given, Model())
            return text_of([delta async for delta in synthesis.answer])

        texts = await asyncio.gather(*map(answered, range(12)))

        assert texts == [f"It is {number}." for number in range(12)]

    @promise
    async def test_long_candidates_hold_nobody_up(self, synthesizer: Synthesizer) -> None:
        """Eight answers of several pages are compared while the event loop goes on."""
        given = candidates(
            *(f"{n} " + " ".join(f"word{n * m % 997}" for m in range(2_000)) for n in range(8))
        )

        async with flowing(self.longest_pause):
            synthesis = await synthesizer.synthesize(_QUESTION, given, Model())
            deltas = [delta async for delta in synthesis.answer]

        assert deltas[-1].finish_reason

    @each_given
    @promise
    async def test_whether_it_is_settled_is_asked_at_any_time(
        self, synthesizer: Synthesizer, given: Sequence[Candidate]
    ) -> None:
        """``settled`` is pure: True or False of what has come so far, and the same when asked again."""
        for number in range(1, len(given) + 1):
            told = [synthesizer.settled(_QUESTION, given[:number], len(given)) for _ in range(2)]

            assert told[0] is told[1]
            assert isinstance(told[0], bool)


async def leave(synthesis: Synthesis) -> None:
    """Close an answer, as far as it can be closed."""
    answer: AsyncIterator[Delta] = synthesis.answer
    if hasattr(answer, "aclose"):
        await cast("Any", answer).aclose()


def chosen_of(given: Sequence[Candidate], synthesis: Synthesis) -> Candidate:
    """Return the candidate that was chosen; there must be one."""
    known = {candidate.index: candidate for candidate in given}
    assert synthesis.chosen in known, "``chosen`` is the ``index`` of a candidate"
    return known[synthesis.chosen]


def text_of(deltas: Sequence[Delta]) -> str:
    """Join what the deltas say."""
    return "".join(delta.content for delta in deltas)
