"""Responses, not streamed: input items, settings, output items, and what is refused."""

import json
from typing import Any

import pytest

HELLO = {"model": "any-name", "input": "Hello?"}
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}
LOOK_AWAY = {"type": "function", "name": "look_away", "parameters": {"type": "object"}}
CALL = {"name": "look_up", "arguments": {"city": "Paris"}}


async def respond(server: Any, body: Any) -> tuple[int, Any]:
    async with server.http.post("/v1/responses", json=body) as response:
        return response.status, await response.json()


def said(server: Any) -> list[tuple[str, Any]]:
    """List roles and contents of what the backend was asked last."""
    return [(message.role, message.content) for message in server.backend.requests[-1].messages]


async def test_a_response_has_openais_shape(gateway: Any) -> None:
    """Every field of the object is there, with the defaults of its settings, and nothing is stored."""
    async with gateway(reply="Yes.") as server:
        status, body = await respond(server, HELLO)

    assert status == 200
    assert body.pop("id").startswith("resp_")
    assert body.pop("created_at") <= body.pop("completed_at")
    assert body.pop("openkimi")["compressed"] is False
    usage = body.pop("usage")
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    [message] = body.pop("output")
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}],
    }
    assert body == {
        "object": "response",
        "status": "completed",
        "model": "any-name",
        "background": False,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }


async def test_settings_come_back_as_they_were_sent(gateway: Any) -> None:
    """A response tells the settings it was made with."""
    settings = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "max_tool_calls": 3,
        "metadata": {"run": "7"},
        "parallel_tool_calls": False,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "prompt_cache_key": "key",
        "reasoning": {"effort": "low", "summary": "auto"},
        "safety_identifier": "someone",
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "look_up"},
        "tools": [{**LOOK_UP, "description": "Looks.", "strict": True}],
        "top_logprobs": 2,
        "top_p": 0.9,
        "truncation": "auto",
        "user": "me",
    }
    async with gateway() as server:
        status, body = await respond(server, {**HELLO, **settings})

    assert status == 200
    assert {name: body[name] for name in settings} == settings


async def test_without_a_model_the_configured_one_is_named(gateway: Any) -> None:
    """The model may be left out."""
    async with gateway() as server:
        status, body = await respond(server, {"input": "Hello?"})

    assert status == 200
    assert body["model"] == "held"


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": ""}], ids=["absent", "null", "empty"])
async def test_without_input_the_user_says_nothing(gateway: Any, body: Any) -> None:
    """OpenAI's reference requires no field, so instructions may stand alone."""
    async with gateway(reply="Yes.") as server:
        status, answer = await respond(server, {"instructions": "Say yes.", **body})

        assert status == 200
        assert answer["output"][0]["content"][0]["text"] == "Yes."
        assert said(server) == [("system", "Say yes."), ("user", "")]


async def test_every_kind_of_item_becomes_a_message(gateway: Any) -> None:
    """Instructions come first; calls join the model's message before them; reasoning is left out."""
    items = [
        {"role": "developer", "content": "Use the tools."},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Here?"}, {"type": "input_text", "text": "There?"}],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "?"}],
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look_up", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look_away", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "nothing"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "a bird"}],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not say."}]},
        {"role": "user", "content": "So?"},
    ]
    async with gateway() as server:
        status, body = await respond(server, {**HELLO, "instructions": "Be brief.", "input": items})

        assert status == 200, body
        assert said(server) == [
            ("system", "Be brief."),
            ("developer", "Use the tools."),
            ("user", "Here?\n\nThere?"),
            ("assistant", "I look."),
            ("tool", "nothing"),
            ("tool", "a bird"),
            ("assistant", "I will not say."),
            ("user", "So?"),
        ]
        messages = server.backend.requests[-1].messages
        assert [(call.id, call.name, call.arguments) for call in messages[3].tool_calls] == [
            ("c1", "look_up", "{}"),
            ("c2", "look_away", '{"a":1}'),
        ]
        assert [message.tool_call_id for message in messages[4:6]] == ["c1", "c2"]


async def test_images_reach_a_backend_that_takes_them(gateway: Any) -> None:
    """An input_image with an address is handed on beside the text."""
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
    ]
    async with gateway() as server:
        status, _ = await respond(server, {"input": [{"role": "user", "content": parts}]})

        assert status == 200
        [(_, (text, image))] = said(server)
        assert text.text == "What is this?"
        assert (image.url, image.detail) == ("data:image/png;base64,AA==", "low")


@pytest.mark.parametrize(
    ("sent", "name", "value"),
    [
        ({"temperature": 0.3}, "temperature", 0.3),
        ({"top_p": 0.4}, "top_p", 0.4),
        ({"presence_penalty": 0.5}, "presence_penalty", 0.5),
        ({"frequency_penalty": 0.6}, "frequency_penalty", 0.6),
        ({"user": "me"}, "user", "me"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"max_output_tokens": 9}, "max_tokens", 9),
        ({"max_output_tokens": 0}, "limited", False),
        ({"top_logprobs": 3}, "top_logprobs", 3),
        ({"include": ["message.output_text.logprobs"]}, "logprobs", True),
        ({"include": ["reasoning.encrypted_content", "else"]}, "logprobs", False),
    ],
    ids=str,
)
async def test_parameters_reach_the_backend(gateway: Any, sent: Any, name: str, value: Any) -> None:
    """What changes an answer gets through."""
    async with gateway() as server:
        status, _ = await respond(server, {**HELLO, **sent})

        assert status == 200
        assert getattr(server.backend.requests[-1], name) == value


async def test_a_limit_makes_a_response_incomplete(gateway: Any) -> None:
    """An answer that was cut says so, and so does its last item."""
    async with gateway(reply="One two three.") as server:
        _, body = await respond(server, {**HELLO, "max_output_tokens": 2})

    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["completed_at"] is None
    assert body["output"][0]["status"] == "incomplete"
    assert body["usage"]["output_tokens"] == 2


async def test_reasoning_is_an_item_before_the_answer(gateway: Any) -> None:
    """What the model thought stands apart, and its tokens are counted."""
    async with gateway(reply="Yes.", reasoning="Hm, let me see.") as server:
        _, body = await respond(server, HELLO)

    reasoning, message = body["output"]
    assert reasoning["type"] == "reasoning"
    assert reasoning["summary"] == []
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hm, let me see."}]
    assert message["content"][0]["text"] == "Yes."
    assert body["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


async def test_logprobs_add_up_to_the_text(gateway: Any) -> None:
    """Asked for, each token of the text has its log-probability, with the alternatives."""
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    async with gateway(reply="One two three.") as server:
        _, body = await respond(server, {**HELLO, **wanted})

    logprobs = body["output"][0]["content"][0]["logprobs"]
    assert "".join(token["token"] for token in logprobs) == "One two three."
    assert all(len(token["top_logprobs"]) == 2 for token in logprobs)
    assert all(bytes(token["bytes"]).decode() == token["token"] for token in logprobs)


async def test_a_tool_call_is_an_item_and_its_output_is_taken_back(gateway: Any) -> None:
    """Output items can be sent back as input with what the function gave."""
    async with gateway(tool_calls=[CALL]) as server:
        _, first = await respond(server, {**HELLO, "tools": [LOOK_UP]})
        [call] = first["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "It rains in Paris."}
        history = [{"role": "user", "content": "What is it like in Paris?"}, *first["output"], result]
        status, second = await respond(server, {"input": history, "tools": [LOOK_UP]})

    assert first["status"] == "completed"
    assert call["type"] == "function_call"
    assert call["id"].startswith("fc_")
    assert call["status"] == "completed"
    assert (call["name"], json.loads(call["arguments"])) == ("look_up", {"city": "Paris"})
    assert status == 200, second
    assert second["output"][0]["content"][0]["text"] == "It rains in Paris."


@pytest.mark.parametrize(
    ("choice", "mode", "name", "offered"),
    [
        ("none", "none", None, ["look_up", "look_away"]),
        ("auto", "auto", None, ["look_up", "look_away"]),
        ("required", "required", None, ["look_up", "look_away"]),
        ({"type": "function", "name": "look_away"}, "named", "look_away", ["look_up", "look_away"]),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "look_away"}],
            },
            "required",
            None,
            ["look_away"],
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look_up"}]},
            "auto",
            None,
            ["look_up"],
        ),
    ],
    ids=["none", "auto", "required", "function", "allowed-required", "allowed-auto"],
)
async def test_the_choice_of_tools_is_kept(
    gateway: Any, choice: Any, mode: str, name: str | None, offered: list[str]
) -> None:
    """The backend is offered the tools that are allowed, and told which to call; all of them come back."""
    async with gateway() as server:
        status, body = await respond(server, {**HELLO, "tools": [LOOK_UP, LOOK_AWAY], "tool_choice": choice})

        assert status == 200, body
        asked = server.backend.requests[-1]
        assert (asked.tool_choice.mode, asked.tool_choice.name) == (mode, name)
        assert [tool.name for tool in asked.tools] == offered
        assert body["tool_choice"] == choice
        assert len(body["tools"]) == 2


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, None),
        (
            {"type": "json_schema", "name": "n", "strict": True, "schema": {"const": {"a": 1}}},
            '{"a":1}',
        ),
    ],
    ids=["text", "json_object", "json_schema"],
)
async def test_the_format_of_the_text_is_kept(gateway: Any, wanted: Any, text: str | None) -> None:
    """The answer has the shape that text.format asks for."""
    async with gateway() as server:
        status, body = await respond(server, {**HELLO, "text": {"format": wanted}})

        assert status == 200, body
        assert server.backend.requests[-1].response_format.type == wanted["type"]
        assert body["text"]["format"] == wanted
        answer = body["output"][0]["content"][0]["text"]
        if wanted["type"] != "text":
            json.loads(answer)
        assert text in (None, answer)


@pytest.mark.parametrize(
    "hints",
    [
        {"store": True},
        {"store": False, "include": ["reasoning.encrypted_content"]},
        {"background": False, "previous_response_id": None, "conversation": None, "prompt": None},
        {"service_tier": "flex", "stream_options": {"include_obfuscation": True}},
        {"prompt_cache_retention": "24h", "context_management": [{"type": "compaction"}]},
        {"moderation": {"model": "x"}, "unknown": {"at": "all"}},
    ],
    ids="-".join,
)
async def test_hints_are_accepted(gateway: Any, hints: Any) -> None:
    """What changes no answer, and fields nobody knows, are no errors."""
    async with gateway(reply="Yes.") as server:
        status, body = await respond(server, {**HELLO, **hints})

    assert status == 200, body
    assert body["store"] is False


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input": []}, "input", "invalid_value"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input", "invalid_value"),
        ({"input": 7}, "input", "invalid_value"),
        ({"input": {"role": "user"}}, "input", "invalid_value"),
        ({"input": ["Hello?"]}, "input[0]", "invalid_value"),
        ({"input": [{"role": "critic", "content": "?"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"content": "?"}]}, "input[0].role", "missing_required_parameter"),
        ({"input": [{"type": "message", "content": "?"}]}, "input[0].role", "missing_required_parameter"),
        ({"input": [{"id": "msg_1"}]}, "input[0]", "unsupported_parameter"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]", "unsupported_parameter"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type", "unsupported_parameter"),
        (
            {"input": [{"type": "computer_call_output", "call_id": "c", "output": {"type": "x"}}]},
            "input[0].type",
            "unsupported_parameter",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "n"}]},
            "input[0].arguments",
            "missing_required_parameter",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "n", "arguments": {}}]},
            "input[0].arguments",
            "invalid_value",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]},
            "input[0].call_id",
            "invalid_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
            "unsupported_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "input[0].content[0]",
            "unsupported_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
            "unsupported_parameter",
        ),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}, "input": None}, "prompt", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"tools": [LOOK_UP, {"type": "file_search"}]}, "tools[1].type", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tool_choice": "sometimes"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "function", "name": "n"}}, "tool_choice.name", None),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "unsupported_parameter"),
        (
            {"tools": [LOOK_UP], "tool_choice": {"type": "allowed_tools", "tools": []}},
            "tool_choice.tools",
            None,
        ),
        (
            {
                "tools": [LOOK_UP],
                "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "n"}]},
            },
            "tool_choice.tools[0].name",
            None,
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "n"}}},
            "text.format.schema",
            "missing_required_parameter",
        ),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"metadata": {"a": 1}}, "metadata", "invalid_value"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
async def test_what_cannot_be_served_is_refused(
    gateway: Any, changes: Any, param: str, code: str | None
) -> None:
    """A clear 400 names the parameter."""
    async with gateway() as server:
        status, body = await respond(server, {**HELLO, **changes})

        assert status == 400
        error = body["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", code), error
        assert error["param"].startswith(param), error
        assert server.backend.requests == []


@pytest.mark.parametrize(
    ("feature", "changes", "param"),
    [
        ("logprobs", {"include": ["message.output_text.logprobs"]}, "top_logprobs"),
        ("tools", {"tools": [LOOK_UP]}, "tools"),
        ("response_format", {"text": {"format": {"type": "json_object"}}}, "text.format"),
        ("penalties", {"presence_penalty": 1}, "presence_penalty"),
        (
            "images",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
            "input",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_the_model_lacks_is_named_as_it_was_sent(
    gateway: Any, feature: str, changes: Any, param: str, stream: bool
) -> None:
    """A feature that the backend lacks is refused by this endpoint's own name for it."""
    async with gateway() as server:
        server.backend.features = frozenset(server.backend.features) - {feature}
        status, body = await respond(server, {**HELLO, **changes, "stream": stream})

    assert status == 400
    assert body["error"]["param"] == param
    assert f"'{param}'" in body["error"]["message"]


async def test_what_does_not_fit_names_the_input(gateway: Any) -> None:
    """A question that is larger than the window is told by the name of this endpoint's field."""
    tools = [{**LOOK_UP, "description": "word " * 200}]
    async with gateway(context_length=64) as server:
        status, body = await respond(server, {**HELLO, "tools": tools})

    assert status == 400
    assert body["error"]["param"] == "input"
    assert body["error"]["code"] == "context_length_exceeded"


async def test_a_failing_model_is_an_http_error(gateway: Any) -> None:
    """Without a stream there is no response object of a failure, as with OpenAI."""
    async with gateway(reply="One two.", fail_after=2) as server:
        status, body = await respond(server, HELLO)

    assert status == 502
    assert body["error"]["type"] == "server_error"


async def test_long_input_is_compressed_and_the_receipt_names_its_item(gateway: Any) -> None:
    """A passage's message is the number of the input item, whatever came before it."""
    text = "\n\n".join(f"Paragraph {number} tells of house {number * 7}." for number in range(900))
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "developer", "content": text},
        {"role": "user", "content": "What does paragraph 444 tell?"},
    ]
    async with gateway(context_length=2048) as server:
        status, body = await respond(server, {"instructions": "Be brief.", "input": items})

    receipt = body["openkimi"]
    assert status == 200, body
    assert receipt["compressed"] is True
    assert receipt["passages"]
    assert {passage["message"] for passage in receipt["passages"]} == {1}
    passage = receipt["passages"][0]
    assert "Paragraph" in text[passage["start"] : passage["end"]]


async def test_several_paths_make_one_response(gateway: Any) -> None:
    """The openkimi object of a request means what it means in chat completions."""
    async with gateway(reply="Yes.") as server:
        status, body = await respond(server, {**HELLO, "openkimi": {"mpr": {"candidates": 3}}})

    assert status == 200, body
    assert body["openkimi"]["paths"] == 3
    assert body["output"][-1]["content"][0]["text"] == "Yes."


async def test_a_document_that_is_not_stored_is_a_404(gateway: Any) -> None:
    """An id in the openkimi object that is nobody's, or another's, is not found."""
    async with gateway() as server:
        status, body = await respond(server, {**HELLO, "openkimi": {"documents": ["doc_none"]}})

    assert status == 404
    assert body["error"]["param"] == "openkimi.documents"
