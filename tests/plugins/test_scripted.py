"""The scripted backend honours the whole contract, so that what is tested against it is tested for real."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openkimi import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ConfigError,
    ContextOverflow,
    Delta,
    Feature,
    GenerateRequest,
    ImagePart,
    Message,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from openkimi.testing import open_component
from openkimi_scripted import ScriptedBackend, ScriptedOptions, ScriptedToolCall, register_backends, tokenize
from openkimi_scripted.extract import NOTHING
from openkimi_scripted.instance import minimal_instance

SYSTEM = Message(
    role="system",
    content="The mill stands at the river. The harbour was closed in 1931 by a storm. Bread is cheap. "
    "沈从文写了小说《边城》。北京的冬天很冷。",
)
WEATHER = Tool(
    name="weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city", "days"],
    },
)
CLOCK = Tool(name="clock")


def backend(**options: Any) -> ScriptedBackend:
    return ScriptedBackend(ScriptedOptions(**options))


def ask(question: str = "When was the harbour closed?", **settings: Any) -> GenerateRequest:
    settings = {"max_tokens": 256, **settings}
    return GenerateRequest(messages=(SYSTEM, Message(role="user", content=question)), **settings)


async def collect(scripted: ScriptedBackend, request: GenerateRequest) -> list[Delta]:
    return [delta async for delta in scripted.generate(request)]


def text(deltas: list[Delta]) -> str:
    return "".join(delta.content for delta in deltas)


async def answer(request: GenerateRequest, **options: Any) -> str:
    return text(await collect(backend(**options), request))


def calls(deltas: list[Delta]) -> list[tuple[str, str]]:
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls):
        if piece.name is not None:
            assert piece.id
            names[piece.index] = piece.name
        arguments[piece.index] = arguments.get(piece.index, "") + piece.arguments
    return [(names[index], arguments[index]) for index in sorted(names)]


def test_kinds() -> None:
    """The kind is `scripted`, and `dummy` is its alias."""
    (provider,) = register_backends()

    assert (provider.kind, provider.aliases) == ("scripted", ("dummy",))


async def test_opens_with_options_and_refuses_unknown_ones() -> None:
    """Options come from the config, and a misspelt one is an error."""
    (provider,) = register_backends()
    async with open_component(provider, context_length=512, parameters=135_000_000) as opened:
        assert (opened.context_window, opened.parameters) == (512, 135_000_000)
        assert opened.features == frozenset(get_args(Feature))

    with pytest.raises(ConfigError, match="repyl"):
        async with open_component(provider, repyl="x"):
            pass


@given(st.text())
def test_tokens_join_to_the_text(value: str) -> None:
    """Whatever the text, its tokens joined are the text, and none is empty."""
    tokens = tokenize(value)

    assert "".join(tokens) == value
    assert all(tokens)


def test_tokens() -> None:
    """A token is a word, a CJK character, or a run of punctuation or white space."""
    assert tokenize("Ab c_1,  「你好」!?") == ["Ab", " ", "c_1", ",", "  ", "「", "你", "好", "」!?"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When was the harbour closed?", "The harbour was closed in 1931 by a storm."),
        ("谁写了《边城》？", "沈从文写了小说《边城》。"),
        ("Quantum chromodynamics?", NOTHING),
    ],
)
async def test_default_answer_is_the_nearest_sentence(question: str, expected: str) -> None:
    """Without a script the answer is the sentence that shares most with the question, in any language."""
    assert await answer(ask(question)) == expected


async def test_default_answer_reads_a_document_in_the_users_message() -> None:
    """The question is the last paragraph of the last user message; what stands above is searched."""
    request = GenerateRequest(
        messages=(Message(role="user", content="Cats purr. Dogs bark.\n\nWhat do dogs do?"),), max_tokens=99
    )

    assert await answer(request) == "Dogs bark."


async def test_default_answer_does_not_repeat_the_conversation() -> None:
    """Earlier questions and answers are no source."""
    earlier = (
        Message(role="user", content="And the harbour?"),
        Message(role="assistant", content="harbour!"),
    )
    request = GenerateRequest(
        messages=(SYSTEM, *earlier, Message(role="user", content="harbour?")), max_tokens=99
    )

    assert await answer(request) == "The harbour was closed in 1931 by a storm."


async def test_reply_echo_and_reasoning() -> None:
    """A reply is given word for word, an echo is the rendered prompt, reasoning goes ahead of the answer."""
    deltas = await collect(backend(reply="Forty two.", reasoning="Let me see."), ask(seed=3))

    assert text(deltas) == "Forty two."
    assert "".join(delta.reasoning for delta in deltas) == "Let me see."
    assert deltas[0].reasoning
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.reasoning_tokens == len(tokenize("Let me see."))
    assert await answer(ask("hi"), echo=True) == f"system: {SYSTEM.content}\nuser: hi\n"


async def test_streams_token_by_token() -> None:
    """Each delta is one token; only the last one has a finish reason, and the usage is exact."""
    scripted, request = backend(reply="Hello, 世界!"), ask()
    deltas = await collect(scripted, request)

    assert [delta.content for delta in deltas] == ["Hello", ",", " ", "世", "界", "!", ""]
    assert [delta.finish_reason for delta in deltas] == [None] * 6 + ["stop"]
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 6
    assert deltas[-1].usage.prompt_tokens == await scripted.count_prompt(request)


async def test_chunk_size_gathers_tokens() -> None:
    """Deltas can be made larger; text and log-probabilities stay whole."""
    deltas = await collect(backend(reply="one two three", chunk_size=5), ask(logprobs=True))

    assert [delta.content for delta in deltas] == ["one two", " three", ""]
    assert [len(delta.logprobs) for delta in deltas] == [3, 2, 0]


async def test_count_prompt_counts_template_and_tools() -> None:
    """The prompt's count is that of its rendering, tools included."""
    scripted = backend(echo=True)
    plain, tooled = ask("hi"), ask("hi", tools=(WEATHER,))

    assert await scripted.count_prompt(plain) == len(tokenize(f"system: {SYSTEM.content}\nuser: hi\n"))
    assert await scripted.count_prompt(tooled) > await scripted.count_prompt(plain) + 10
    assert await scripted.count_tokens(["a b", "", "你好", "x" * 60_000]) == [3, 0, 2, 1]


async def test_image_parts_are_in_the_prompt() -> None:
    """Images are accepted, and tests can see that they came."""
    content = (TextPart(text="What is this?"), ImagePart(url="data:image/png;base64,AA=="))
    request = GenerateRequest(messages=(Message(role="user", content=content),), max_tokens=64)

    assert "[image data:image/png;base64,AA==]" in await answer(request, echo=True)


async def test_max_tokens_ends_the_answer() -> None:
    """The answer has at most `max_tokens` tokens, and says that it was cut."""
    deltas = await collect(backend(reply="one two three"), ask(max_tokens=3))

    assert text(deltas) == "one two"
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 3


async def test_an_answer_that_just_fits_is_not_cut() -> None:
    """An answer of exactly `max_tokens` tokens is whole."""
    deltas = await collect(backend(reply="one two three"), ask(max_tokens=5))

    assert (text(deltas), deltas[-1].finish_reason) == ("one two three", "stop")


async def test_overflow_is_refused_to_the_token() -> None:
    """Prompt and answer may fill the window exactly, and not exceed it by one token."""
    read = await backend().count_prompt(ask())
    scripted = backend(context_length=read + 10)
    fits = await collect(scripted, ask(max_tokens=10))

    assert fits[-1].finish_reason is not None
    with pytest.raises(ContextOverflow):
        await collect(scripted, ask(max_tokens=11))


async def test_stop_sequences() -> None:
    """The answer ends before a stop sequence, wherever token borders are."""
    deltas = await collect(backend(reply="alpha beta gamma"), ask(stop=("ta ga", "zzz")))

    assert text(deltas) == "alpha be"
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("settings", "marker"),
    [
        ({}, ""),
        ({"temperature": 0.5, "seed": 7}, " [temperature=0.5 seed=7]"),
        ({"temperature": 0.0, "seed": 7, "top_p": 0.5}, " [temperature=0]"),
        ({"top_p": 0.9}, " [top_p=0.9]"),
        (
            {"presence_penalty": 1.0, "frequency_penalty": -0.5},
            " [presence_penalty=1 frequency_penalty=-0.5]",
        ),
        ({"logit_bias": {15: -100.0}}, " [logit_bias=15:-100]"),
    ],
)
async def test_sampling_settings_show(settings: dict[str, Any], marker: str) -> None:
    """Every sampling setting that reached the backend and has an effect is named in the answer."""
    shown = await answer(ask(**settings))

    assert shown == "The harbour was closed in 1931 by a storm." + marker
    assert shown == await answer(ask(**settings))


async def test_logprobs() -> None:
    """There is one log-probability for each token, and as many alternatives as asked for, best first."""
    deltas = await collect(backend(reply="Hello, 世界!"), ask(logprobs=True, top_logprobs=3))
    chosen = [logprob for delta in deltas for logprob in delta.logprobs]

    assert "".join(logprob.token for logprob in chosen) == "Hello, 世界!"
    assert all(logprob.logprob <= 0 for logprob in chosen)
    assert all(bytes(logprob.bytes or ()) == logprob.token.encode() for logprob in chosen)
    for logprob in chosen:
        values = [other.logprob for other in logprob.top_logprobs]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert logprob.top_logprobs[0].token == logprob.token
    assert not any(delta.logprobs for delta in await collect(backend(), ask()))


async def test_json_answers() -> None:
    """An asked-for JSON object has the answer, one by schema fits the schema."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "mood": {"enum": ["good", "bad"]},
            "pages": {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 3}, "minItems": 2},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "open": {"type": ["boolean", "null"]},
            "kind": {"const": "x"},
            "low": {"type": "number", "maximum": -2.5},
        },
        "required": ["name", "mood", "pages", "next", "open", "kind", "low"],
        "additionalProperties": False,
        "$defs": {"node": {"type": "object", "properties": {"v": {"type": "null"}}, "required": ["v"]}},
    }
    plain = json.loads(await answer(ask(response_format=ResponseFormat(type="json_object"))))
    fitted = json.loads(await answer(ask(response_format=ResponseFormat(type="json_schema", schema=schema))))

    assert plain == {"answer": "The harbour was closed in 1931 by a storm."}
    jsonschema.validate(fitted, schema)


async def test_lone_surrogates_do_no_harm() -> None:
    """Text that no encoding can carry is answered about, and what is said of it can be encoded."""
    request = ask("harbour \ud800?", response_format=ResponseFormat(type="json_object"), logprobs=True)

    assert (await answer(request)).encode()


def test_minimal_instance_ends_on_recursive_schemas() -> None:
    """A schema that requires itself without end gives a value all the same."""
    schema = {"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]}

    assert isinstance(minimal_instance(schema), dict)


async def test_only_offered_tools_are_called() -> None:
    """Of the scripted calls those are made whose tools a request offers; a named one only by its name."""
    scripted = backend(tool_calls=(ScriptedToolCall(name="clock"), ScriptedToolCall(name="unheard_of")))

    offered = await collect(scripted, ask(tools=(WEATHER, CLOCK)))
    other = await collect(scripted, ask(tools=(WEATHER,)))
    weather = ToolChoice(mode="named", name="weather")
    named = await collect(scripted, ask(tools=(WEATHER, CLOCK), tool_choice=weather))

    assert [name for name, _ in calls(offered)] == ["clock"]
    assert calls(other) == []
    assert [name for name, _ in calls(named)] == ["weather"]


async def test_scripted_tool_calls() -> None:
    """The scripted calls are made where tools are offered, and not once their result is there."""
    scripted = backend(
        tool_calls=(
            ScriptedToolCall(name="weather", arguments={"city": "北京"}),
            ScriptedToolCall(name="clock", arguments="not json"),
        )
    )
    deltas = await collect(scripted, ask(tools=(WEATHER, CLOCK)))
    one = await collect(scripted, ask(tools=(WEATHER, CLOCK), parallel_tool_calls=False))
    none = await collect(scripted, ask(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")))
    result = Message(role="tool", content="Sunny.", tool_call_id="c1")
    asked = Message(role="assistant", tool_calls=(ToolCall(id="c1", name="weather", arguments="{}"),))
    after = GenerateRequest(messages=(*ask().messages, asked, result), tools=(WEATHER,), max_tokens=99)

    assert calls(deltas) == [("weather", '{"city":"北京"}'), ("clock", "not json")]
    assert deltas[-1].finish_reason == "tool_calls"
    assert len(calls(one)) == 1
    assert text(none)
    assert not calls(none)
    assert not calls(await collect(scripted, after))


@pytest.mark.parametrize(
    ("choice", "name"),
    [(ToolChoice(mode="required"), "clock"), (ToolChoice(mode="named", name="weather"), "weather")],
)
async def test_a_required_call_fits_its_schema(choice: ToolChoice, name: str) -> None:
    """A required call is made without a script, with arguments that fit."""
    deltas = await collect(backend(), ask(tools=(CLOCK, WEATHER), tool_choice=choice))
    ((called, arguments),) = calls(deltas)

    assert called == name
    jsonschema.validate(json.loads(arguments), WEATHER.parameters if name == "weather" else {})
    assert deltas[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("kind", "error"),
    [("backend", BackendError), ("unavailable", BackendUnavailable), ("timeout", BackendTimeout)],
)
async def test_failing_before_the_answer(kind: Any, error: type[BackendError]) -> None:
    """A failure before the first delta is of the chosen kind."""
    scripted = backend(fail_before="out of order", fail_kind=kind)

    with pytest.raises(error, match="out of order") as caught:
        await collect(scripted, ask())
    assert type(caught.value) is error
    assert (scripted.failed, scripted.active) == (1, 0)


@pytest.mark.parametrize(("after", "seen"), [(0, ""), (3, "a b"), (99, "a b c")])
async def test_failing_in_the_middle(after: int, seen: str) -> None:
    """A failure after some deltas comes for sure, at the latest before the finish reason."""
    got: list[Delta] = []

    with pytest.raises(BackendError):  # noqa: PT012
        async for delta in backend(reply="a b c", fail_after=after).generate(ask()):
            got.append(delta)  # noqa: PERF401
    assert text(got) == seen
    assert not any(delta.finish_reason for delta in got)


async def test_leaving_is_counted_as_cancelled() -> None:
    """A consumer that closes the stream or is cancelled leaves nothing running."""
    scripted = backend(reply="word " * 50, token_delay=0.001)
    closed = scripted.generate(ask())
    await anext(closed)
    task = asyncio.create_task(collect(scripted, ask()))
    while scripted.active < 2:
        await asyncio.sleep(0)

    await closed.aclose()  # type: ignore[attr-defined]
    assert (scripted.active, scripted.cancelled) == (1, 1)
    task.cancel()
    await asyncio.wait([task])
    assert (scripted.active, scripted.cancelled, scripted.finished) == (0, 2, 0)


async def test_concurrent_requests_and_memory() -> None:
    """Any number runs at once; what was asked is remembered, bounded."""
    scripted = backend(reply="a b c d")
    asked = [ask(f"question {number}") for number in range(300)]
    answers = await asyncio.gather(*(collect(scripted, request) for request in asked))

    assert {text(deltas) for deltas in answers} == {"a b c d"}
    assert scripted.peak == 300
    assert (scripted.active, scripted.finished) == (0, 300)
    assert len(scripted.requests) == 256
    assert asked[-1] in scripted.requests
