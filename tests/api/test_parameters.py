"""Each parameter of chat completions: what changes in the answer, or the 400 that names it."""

import json
from typing import Any

import msgspec
import openai
import pytest

from openkimi import GenerateRequest

HELLO: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "The lighthouse belongs to Ada Quill."},
        {"role": "user", "content": "To whom does the lighthouse belong?"},
    ]
}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
SEND = {"type": "function", "function": {"name": "send", "parameters": {"foo": "bar"}}}
CALLS = [{"name": "look_up", "arguments": {"city": "Paris"}}, {"name": "send", "arguments": "{}"}]
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 3}}, "required": ["age"]}


def text_of(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])


def names_of(body: Any) -> list[str]:
    return [call["function"]["name"] for call in body["choices"][0]["message"].get("tool_calls", ())]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"temperature": 0.5}, "temperature=0.5"),
        ({"temperature": 0}, "temperature=0"),
        ({"top_p": 0.4}, "top_p=0.4"),
        ({"seed": 7}, "seed=7"),
        ({"seed": -9007199254740991}, "seed=-9007199254740991"),
        ({"presence_penalty": -2}, "presence_penalty=-2"),
        ({"frequency_penalty": 1.5}, "frequency_penalty=1.5"),
        ({"logit_bias": {"15": -100, "foo": 1, "-3": 1, "1.5": 1}}, "logit_bias=15:-100"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_sampling_parameter_shows_in_the_answer(
    gateway: Any, changes: dict[str, Any], shown: str
) -> None:
    """The scripted model names the settings that it was given and that are not the defaults."""
    async with gateway() as server:
        _, plain = await server.chat(HELLO)
        status, body = await server.chat({**HELLO, **changes})

    assert status == 200
    assert text_of(body) == f"{text_of(plain)} [{shown}]"


NULLS: dict[str, Any] = {
    "model": None,
    "messages": [
        {"role": "user", "content": "Where?", "name": None, "tool_calls": None, "function_call": None},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": None, "function": {"name": "look_up", "arguments": None}}],
        },
        {
            "role": "tool",
            "tool_call_id": "a",
            "content": [{"type": "text", "text": "Here.", "image_url": None}],
        },
    ],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": None, "schema": SCHEMA, "strict": None},
    },
    "tools": [{"type": "function", "function": {"name": "look_up", "description": None, "parameters": None}}],
    "tool_choice": {
        "type": "allowed_tools",
        "function": None,
        "allowed_tools": {"mode": None, "tools": [{"type": None, "function": {"name": "look_up"}}]},
    },
}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def asked(server: Any, at: int) -> GenerateRequest:
    """Return what the backend was asked, without the name that each request has of its own."""
    return msgspec.structs.replace(server.backend.requests[at], share=None)


async def test_a_null_inside_of_a_field_is_the_same_as_leaving_it_out(gateway: Any) -> None:
    """Clients write the fields that they have no value for as null, at any depth."""
    async with gateway() as server:
        status, _ = await server.chat(NULLS)
        assert status == 200
        status, _ = await server.chat(without_nulls(NULLS))

        assert status == 200
        assert asked(server, 0) == asked(server, 1)


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("completions", {"prompt": "Hello?"}),
        ("embeddings", {"input": "Hello?"}),
        ("responses", {"input": "Hello?"}),
        ("tokenize", {"input": "Hello?"}),
    ],
)
async def test_a_model_of_null_is_the_configured_one(
    gateway: Any, address: str, body: dict[str, Any]
) -> None:
    """Its name stands in the answer, as where none was sent."""
    async with gateway() as server:
        answers = []
        for sent in (body, {**body, "model": None}):
            async with server.http.post(f"/v1/{address}", json=sent) as response:
                answers.append((response.status, (await response.json()).get("model")))

    assert answers[0][0] == 200
    assert answers[0] == answers[1]


async def test_defaults_and_nulls_are_the_same(gateway: Any) -> None:
    """A null means that the parameter was not sent."""
    names = [
        *("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "stop", "n"),
        *("max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "response_format", "tools"),
        *("tool_choice", "parallel_tool_calls", "functions", "function_call", "stream", "stream_options"),
        *("modalities", "user", "metadata", "audio", "store", "openkimi"),
    ]
    async with gateway() as server:
        _, plain = await server.chat(HELLO)
        status, body = await server.chat({**HELLO, **dict.fromkeys(names)})

        assert status == 200
        assert text_of(body) == text_of(plain)
        assert asked(server, 0) == asked(server, 1)


@pytest.mark.parametrize(
    ("changes", "text", "reason"),
    [
        ({"max_tokens": 2}, "One ", "length"),
        ({"max_completion_tokens": 2}, "One ", "length"),
        ({"max_tokens": 5, "max_completion_tokens": 2}, "One ", "length"),
        ({"max_tokens": 2, "max_completion_tokens": 0}, "One ", "length"),
        ({"max_tokens": 0}, "One two three.", "stop"),
        ({"max_completion_tokens": 0}, "One two three.", "stop"),
        ({"max_tokens": -1}, "One two three.", "stop"),
        ({"max_tokens": 10**25}, "One two three.", "stop"),
        ({"stop": "two"}, "One ", "stop"),
        ({"stop": ["three", "two"]}, "One ", "stop"),
        ({"stop": ["", "two"]}, "One ", "stop"),
        ({"stop": []}, "One two three.", "stop"),
        ({"stop": ""}, "One two three.", "stop"),
        ({"stop": "One"}, "", "stop"),
        ({"stop": [*"qxyzjk", "two", *"QXYZJKVWB"]}, "One ", "stop"),
    ],
    ids=str,
)
async def test_an_answer_ends_where_it_was_told_to(
    gateway: Any, changes: dict[str, Any], text: str, reason: str
) -> None:
    """By tokens, the newer name first, 0 and -1 being no limit; or before a stop sequence."""
    async with gateway(reply="One two three.") as server:
        status, body = await server.chat({**HELLO, **changes})

    assert status == 200, body
    assert (text_of(body), body["choices"][0]["finish_reason"]) == (text, reason)


async def test_n_answers_share_one_prompt(gateway: Any) -> None:
    """Each has its index and a seed of its own; the prompt counts once."""
    async with gateway() as server:
        _, one = await server.chat({**HELLO, "seed": 5})
        status, body = await server.chat({**HELLO, "n": 3, "seed": 5})

    assert status == 200
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert [text[-8:] for text in texts] == ["[seed=5]", "[seed=6]", "[seed=7]"]
    assert body["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert body["usage"]["completion_tokens"] > 2 * one["usage"]["completion_tokens"]


@pytest.mark.parametrize("top", [0, 1, 5, 20])
async def test_logprobs_add_up_to_the_text(gateway: Any, top: int) -> None:
    """Each token has its bytes, a log-probability and as many alternatives as were asked for."""
    async with gateway(reply="Größe 大小 👍 one two.") as server:
        status, body = await server.chat({**HELLO, "logprobs": True, "top_logprobs": top})

    assert status == 200
    tokens = body["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == text_of(body)
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == text_of(body)
    assert all(token["logprob"] <= 0 for token in tokens)
    assert {len(token["top_logprobs"]) for token in tokens} == {top}


async def test_logprobs_end_with_the_text(gateway: Any) -> None:
    """Also where a stop sequence or a limit cuts it; without the parameter they are null."""
    async with gateway(reply="One two three.") as server:
        _, stopped = await server.chat({**HELLO, "logprobs": True, "stop": "three"})
        _, cut = await server.chat({**HELLO, "logprobs": True, "max_tokens": 3})
        _, none = await server.chat({**HELLO, "logprobs": False, "top_logprobs": 0})

    for body in (stopped, cut):
        tokens = body["choices"][0]["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == text_of(body)
    assert none["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("wanted", "check"),
    [
        ({"type": "text"}, lambda text: "Ada Quill" in text),
        ({"type": "json_object"}, lambda text: "Ada Quill" in json.loads(text)["answer"]),
        (
            {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}},
            lambda text: json.loads(text) == {"age": 3},
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": None}},
            lambda text: json.loads(text) == {"age": 3},
        ),
        ({"type": "json_object", "schema": {"const": "42"}}, lambda text: json.loads(text) == "42"),
    ],
    ids=["text", "json_object", "json_schema strict", "json_schema unnamed", "json_object with schema"],
)
async def test_the_answer_has_the_format_asked_for(gateway: Any, wanted: dict[str, Any], check: Any) -> None:
    """Text, any JSON object, or JSON by a schema."""
    async with gateway() as server:
        status, body = await server.chat({**HELLO, "response_format": wanted})

    assert status == 200, body
    assert check(text_of(body))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["look_up", "send"]),
        ("auto", ["look_up", "send"]),
        ("required", ["look_up", "send"]),
        ("none", []),
        ({"type": "auto"}, ["look_up", "send"]),
        ({"type": "none"}, []),
        ({"type": "required"}, ["look_up", "send"]),
        ({"type": "function", "function": {"name": "send"}}, ["send"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "send"}}],
                },
            },
            ["send"],
        ),
    ],
    ids=str,
)
async def test_tool_choice_decides_what_is_called(gateway: Any, choice: Any, names: list[str]) -> None:
    """By mode, by the name of one tool, or by the names of those that are allowed."""
    async with gateway(reply="No call.") as server:
        status, body = await server.chat(
            {**HELLO, "tools": [LOOK_UP, SEND], "tool_choice": choice} | {"parallel_tool_calls": True}
        )
        asked = server.backend.requests[-1]

    offered = [tool.name for tool in asked.tools]
    assert status == 200, body
    if asked.tool_choice.mode in {"required", "named"}:
        assert set(names_of(body)) <= set(names)
        assert names_of(body)
    elif asked.tool_choice.mode == "none":
        assert names_of(body) == names
    else:
        assert offered == names


@pytest.mark.parametrize(("parallel", "names"), [(True, ["look_up", "send"]), (False, ["look_up"])])
async def test_parallel_tool_calls_allows_several(gateway: Any, parallel: bool, names: list[str]) -> None:
    """False leaves one call."""
    async with gateway(tool_calls=CALLS) as server:
        status, body = await server.chat({**HELLO, "tools": [LOOK_UP, SEND], "parallel_tool_calls": parallel})

    assert status == 200
    assert names_of(body) == names
    assert body["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "parameters",
    [None, {}, {"foo": "bar"}, {"type": "object"}, {"type": "hiccup"}, {"properties": None}, SCHEMA],
    ids=str,
)
async def test_parameters_that_are_no_schema_are_passed_on(gateway: Any, parameters: Any) -> None:
    """What a tool takes is between the client and the model."""
    tool = {"type": "function", "function": {"name": "look_up", "parameters": parameters}}
    async with gateway(tool_calls=CALLS[:1]) as server:
        status, body = await server.chat({**HELLO, "tools": [tool]})

        assert status == 200, body
        assert server.backend.requests[-1].tools[0].parameters == parameters


async def test_functions_are_tools_by_their_former_name(gateway: Any) -> None:
    """The call comes as function_call, its result is sent with the role function."""
    functions = [LOOK_UP["function"], SEND["function"]]
    async with gateway(tool_calls=CALLS) as server:
        _, body = await server.chat({**HELLO, "functions": functions})
        events = await server.lines({**HELLO, "functions": functions})
        message = body["choices"][0]["message"]
        result = {"role": "function", "name": "look_up", "content": "sunny"}
        status, _ = await server.chat({"messages": [*HELLO["messages"], message, result]})
        sent = server.backend.requests[-1].messages

    assert message["function_call"] == {"name": "look_up", "arguments": '{"city":"Paris"}'}
    assert "tool_calls" not in message
    assert body["choices"][0]["finish_reason"] == "function_call"
    choices = [json.loads(event[6:])["choices"][0] for event in events[:-1]]
    pieces = [choice["delta"]["function_call"] for choice in choices if "function_call" in choice["delta"]]
    assert pieces[0]["name"] == "look_up"
    assert "".join(piece["arguments"] for piece in pieces) == '{"city":"Paris"}'
    assert choices[-1]["finish_reason"] == "function_call"
    assert status == 200
    assert (sent[-2].tool_calls[0].id, sent[-1].role) == (sent[-1].tool_call_id, "tool")


@pytest.mark.parametrize(
    ("choice", "called"),
    [("auto", "look_up"), ("none", None), ({"name": "send"}, "send"), (None, "look_up")],
)
async def test_function_call_decides_as_tool_choice_does(gateway: Any, choice: Any, called: Any) -> None:
    """By mode or by name; where tools are sent as well, these count."""
    functions = [LOOK_UP["function"], SEND["function"]]
    async with gateway(tool_calls=CALLS) as server:
        _, body = await server.chat({**HELLO, "functions": functions, "function_call": choice})
        _, both = await server.chat(
            {**HELLO, "functions": functions, "tools": [SEND], "function_call": choice}
        )

    call = body["choices"][0]["message"].get("function_call")
    assert (call and call["name"]) == called
    assert "function_call" not in both["choices"][0]["message"]
    assert names_of(both)


@pytest.mark.parametrize(
    "hint",
    [
        {"store": True},
        {"service_tier": "flex"},
        {"prediction": {"type": "content", "content": "Ada"}},
        {"moderation": {"model": "m", "policy": {"input": {"mode": "score"}}}},
        {"web_search_options": {"search_context_size": "low"}},
        {"audio": {"format": "wav", "voice": "alloy"}},
        {"modalities": ["text"]},
        {"modalities": []},
        {"verbosity": "low"},
        {"reasoning_effort": "none"},
        {"prompt_cache_key": "k"},
        {"prompt_cache_retention": "in_memory"},
        {"prompt_cache_options": {"mode": "implicit"}},
        {"safety_identifier": "s"},
        {"metadata": {"a": "b"}},
        {"metadata": {"a": 1, "b": [2]}},
        {"user": "me"},
        {"stream_options": {"include_usage": True, "include_obfuscation": True}},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tools": []},
        {"functions": []},
        {"parallel_tool_calls": True},
        {"top_k": 40, "min_p": 0.1, "repeat_penalty": 1.1, "keep_alive": "5m"},
        {"something_new": {"deep": [1, None]}},
    ],
    ids=str,
)
async def test_hints_are_taken_and_change_nothing(gateway: Any, hint: dict[str, Any]) -> None:
    """What would not change this answer is no error, known or unknown."""
    async with gateway() as server:
        _, plain = await server.chat(HELLO)
        status, body = await server.chat({**HELLO, **hint})

    assert status == 200, body
    assert text_of(body) == text_of(plain)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": "high"}, "top_p"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"logit_bias": {"15": "x"}}, "logit_bias"),
        ({"logit_bias": {"15": 101}}, "logit_bias"),
        ({"logit_bias": [[15, 1]]}, "logit_bias"),
        ({"logprobs": 5}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}, "modalities"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "sound"}}, "response_format.type"),
        ({"response_format": {"type": "json_object", "schema": 123}}, "response_format.schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [LOOK_UP, {"type": "function"}]}, "tools[1].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": "none"}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "function", "function": {"name": "look_up"}}}, "tool_choice"),
        (
            {"tools": [LOOK_UP], "tool_choice": {"type": "function", "function": {"name": "send"}}},
            "tool_choice",
        ),
        ({"tools": [LOOK_UP], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        (
            {
                "tools": [LOOK_UP],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "send"}}],
                    },
                },
            },
            "tool_choice.allowed_tools.tools[0]",
        ),
        (
            {
                "tools": [LOOK_UP],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            },
            "tool_choice.allowed_tools.tools",
        ),
        ({"functions": [{}]}, "functions[0].name"),
        ({"functions": [{"name": "x"}], "function_call": {"name": "y"}}, "tool_choice"),
        ({"user": 5}, "user"),
        ({"openkimi": {"mpr": {"candidates": 0}}}, "openkimi.mpr.candidates"),
    ],
    ids=lambda value: str(value)[:70],
)
async def test_what_cannot_be_served_is_named(gateway: Any, changes: dict[str, Any], param: str) -> None:
    """A 400 says which parameter it is, and nothing reaches the model."""
    async with gateway() as server:
        status, body = await server.chat({**HELLO, **changes})

        assert status == 400
        assert body["error"]["param"] == param
        assert body["error"]["type"] == "invalid_request_error"
        assert param.partition("[")[0].rpartition(".")[2] in body["error"]["message"]
        assert not server.backend.requests


@pytest.mark.parametrize(
    ("feature", "changes", "param"),
    [
        ("logprobs", {"logprobs": True}, "logprobs"),
        ("tools", {"tools": [LOOK_UP]}, "tools"),
        ("response_format", {"response_format": {"type": "json_object"}}, "response_format"),
        ("logit_bias", {"logit_bias": {"15": 1}}, "logit_bias"),
        ("penalties", {"presence_penalty": 1}, "presence_penalty"),
        ("penalties", {"frequency_penalty": 1}, "frequency_penalty"),
        (
            "images",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}
                ]
            },
            "messages",
        ),
    ],
)
async def test_what_the_model_cannot_do_is_refused(
    gateway: Any, feature: str, changes: dict[str, Any], param: str
) -> None:
    """Never dropped in silence: 400 with the code unsupported_parameter."""
    async with gateway() as server:
        fine, _ = await server.chat({**HELLO, **changes})
        server.backend.features -= {feature}
        status, body = await server.chat({**HELLO, **changes})

    assert (fine, status) == (200, 400)
    assert (body["error"]["param"], body["error"]["code"]) == (param, "unsupported_parameter")
    assert f"'{param}'" in body["error"]["message"]
    assert feature in body["error"]["message"] or feature == "penalties"


async def test_stop_is_emulated_where_the_model_cannot(gateway: Any) -> None:
    """The answer and its log-probabilities end before the sequence, streamed and not."""
    async with gateway(reply="One two three.") as server:
        server.backend.features -= {"stop"}
        stopping = {**HELLO, "stop": ["thr", "zzz"], "logprobs": True}
        _, body = await server.chat(stopping)
        events = await server.lines(stopping)

    tokens = [token["token"] for token in body["choices"][0]["logprobs"]["content"]]
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events[:-1]]
    assert text_of(body) == "".join(tokens) == "One two "
    assert "".join(delta.get("content", "") for delta in deltas) == "One two "


async def test_everything_that_the_openai_package_sends_in_its_own_tests(gateway: Any) -> None:
    """All parameters together, as a client that sets each of them would."""
    everything: Any = {
        "messages": [{"content": "string", "role": "developer", "name": "name"}],
        "model": "some-model",
        "audio": {"format": "wav", "voice": "alloy"},
        "frequency_penalty": -2,
        "function_call": "none",
        "functions": [{"name": "name", "description": "description", "parameters": {"foo": "bar"}}],
        "logit_bias": {"foo": 0},
        "logprobs": True,
        "max_completion_tokens": 0,
        "max_tokens": 0,
        "metadata": {"foo": "string"},
        "modalities": ["text"],
        "n": 1,
        "parallel_tool_calls": True,
        "presence_penalty": -2,
        "response_format": {"type": "text"},
        "seed": -9007199254740991,
        "stop": "\n",
        "stream_options": {"include_obfuscation": True, "include_usage": True},
        "temperature": 1,
        "tool_choice": "none",
        "tools": [{"type": "function", "function": {"name": "name", "strict": True}}],
        "top_logprobs": 0,
        "top_p": 1,
        "user": "user-1234",
    }
    async with gateway() as server, openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        whole = await client.chat.completions.create(**everything)
        stream: Any = await client.chat.completions.create(**everything, stream=True)
        chunks = [chunk async for chunk in stream]

    assert whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
