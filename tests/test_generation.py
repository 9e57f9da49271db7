"""Generation: what a backend leaves out is made up for, what it cannot do is refused."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from openkimi import (
    Backend,
    ContextOverflow,
    Delta,
    GenerateRequest,
    ImagePart,
    Message,
    ResponseFormat,
    Tool,
    UnsupportedParameter,
    Usage,
)
from openkimi.budget import seal
from openkimi.generation import generate, refuse_unserved

HELLO = GenerateRequest(messages=(Message(role="user", content="hello"),))


class Plain(Backend):
    """A backend with no features at all, that yields the given pieces and nothing else."""

    context_window = 100  # type: ignore[assignment]

    def __init__(self, *pieces: str) -> None:
        self.pieces, self.closed, self.asked = pieces, False, HELLO

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.asked = request
        try:
            for piece in self.pieces:
                yield Delta(content=piece)
        finally:
            self.closed = True

    async def count_prompt(self, request: GenerateRequest) -> int:
        return 10

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


async def run(backend: Backend, request: GenerateRequest) -> list[Delta]:
    return [delta async for delta in generate(backend, request, prompt_tokens=10, window=100)]


async def test_finish_reason_and_usage_are_made_up_for() -> None:
    """A backend that ends without either still gives a complete answer."""
    deltas = await run(Plain("one ", "two"), HELLO)

    assert "".join(delta.content for delta in deltas) == "one two"
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage == Usage(prompt_tokens=10, completion_tokens=2)
    assert [delta.finish_reason for delta in deltas[:-1]] == [None, None]


async def test_stop_is_emulated_and_ends_the_backends_work() -> None:
    """A stop sequence across pieces ends the answer and closes the backend's iterator."""
    backend = Plain("one E", "ND two", "three")

    deltas = await run(backend, GenerateRequest(messages=HELLO.messages, stop=("END",)))

    assert "".join(delta.content for delta in deltas) == "one "
    assert backend.closed
    assert backend.asked.stop == ()


async def test_max_tokens_always_fits_the_window() -> None:
    """What the backend gets is set, and leaves room for the prompt."""
    backend = Plain("x")

    await run(backend, GenerateRequest(messages=HELLO.messages, max_tokens=1000))
    assert backend.asked.max_tokens == 90

    assert backend.asked.limited

    await run(backend, HELLO)
    assert backend.asked.max_tokens == 90
    assert not backend.asked.limited


@pytest.mark.parametrize(
    ("parameters", "asked", "given"),
    [(135_000_000, None, 1024), (135_000_000, 3000, 3000), (None, None, 7900)],
)
def test_a_small_model_does_not_repeat_itself_till_the_window_is_full(
    parameters: int | None, asked: int | None, given: int
) -> None:
    """Where nobody says how long an answer may be, a small model's is at most 1,024 tokens."""
    backend = Plain()
    backend.parameters = parameters
    request = GenerateRequest(messages=HELLO.messages, max_tokens=asked)

    assert seal(backend, request, prompt_tokens=100, window=8000).max_tokens == given


def test_a_prompt_that_fills_the_window_is_refused() -> None:
    """No request reaches a backend without room for an answer."""
    with pytest.raises(ContextOverflow, match="takes 100 tokens, the model's window has 100"):
        seal(Plain(), HELLO, prompt_tokens=100, window=100)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"tools": (Tool(name="look"),)}, "tools"),
        ({"response_format": ResponseFormat(type="json_object")}, "response_format"),
        ({"logit_bias": {1: 5.0}}, "logit_bias"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"frequency_penalty": 1.0}, "frequency_penalty"),
        ({"messages": (Message(role="user", content=(ImagePart(url="x"),)),)}, "messages"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    """A parameter that would change the answer is served or refused, never dropped."""
    request = GenerateRequest(**{"messages": HELLO.messages, **changes})

    with pytest.raises(UnsupportedParameter) as caught:
        refuse_unserved(request, Plain())

    assert caught.value.param == param
