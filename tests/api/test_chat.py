"""Chat completions, not streamed and streamed, as OpenAI's clients expect them."""

import asyncio
import json
from typing import Any

import openai
import pytest

import openkimi

HELLO = {"model": "any-name", "messages": [{"role": "user", "content": "Hello?"}]}
CALL = {"name": "look_up", "arguments": {"city": "Paris"}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


async def test_an_answer_has_openais_shape(gateway: Any) -> None:
    """Every field of a chat.completion is there, the model's name echoed."""
    async with gateway(reply="Yes.") as server:
        status, body = await server.chat(HELLO)

    assert status == 200
    assert list(body)[:5] == ["id", "object", "created", "model", "choices"]
    assert body["object"] == "chat.completion"
    assert body["model"] == "any-name"
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Yes.", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > 0
    assert body["openkimi"]["compressed"] is False


async def test_a_stream_is_role_content_finish_and_done(gateway: Any) -> None:
    """The role comes first, one id is in all chunks, one finish reason, and [DONE] is last."""
    async with gateway(reply="One two three.") as server:
        events = await server.lines(HELLO)

    assert events[-1] == "data: [DONE]"
    assert all(event.startswith("data: ") for event in events)
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "One two three."
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks].count(None) == len(chunks) - 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert "openkimi" in chunks[-1]
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_is_streamed_only_when_asked_for(gateway: Any) -> None:
    """The one event with empty choices is the usage chunk, before [DONE]."""
    async with gateway(reply="Yes.") as server:
        events = await server.lines({**HELLO, "stream_options": {"include_usage": True}})

    last = json.loads(events[-2].removeprefix("data: "))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"max_tokens": 2}, lambda body: body["choices"][0]["finish_reason"] == "length"),
        ({"max_completion_tokens": 2}, lambda body: body["choices"][0]["finish_reason"] == "length"),
        ({"stop": "two"}, lambda body: body["choices"][0]["message"]["content"] == "One "),
        ({"stop": ["zzz", "three"]}, lambda body: body["choices"][0]["message"]["content"] == "One two "),
        ({"n": 3}, lambda body: [choice["index"] for choice in body["choices"]] == [0, 1, 2]),
        (
            {"logprobs": True, "top_logprobs": 2},
            lambda body: (
                "".join(t["token"] for t in body["choices"][0]["logprobs"]["content"]) == "One two three."
            ),
        ),
    ],
    ids=["max_tokens", "max_completion_tokens", "stop", "stop-list", "n", "logprobs"],
)
async def test_parameters_change_the_answer(gateway: Any, changes: dict[str, Any], check: Any) -> None:
    """What the API reference promises of a parameter shows in the answer."""
    async with gateway(reply="One two three.") as server:
        status, body = await server.chat({**HELLO, **changes})

    assert status == 200
    assert check(body), body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.3),
        ("top_p", 0.4),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.6),
        ("seed", 7),
        ("user", "me"),
        ("parallel_tool_calls", False),
    ],
)
async def test_parameters_reach_the_backend(gateway: Any, name: str, value: Any) -> None:
    """Sampling parameters get through as they were sent."""
    async with gateway() as server:
        status, _ = await server.chat({**HELLO, name: value})

        assert status == 200
        assert getattr(server.backend.requests[-1], name) == value


async def test_tools_give_tool_calls(gateway: Any) -> None:
    """A call of a tool comes as OpenAI has it, whole and in pieces."""
    async with gateway(tool_calls=[CALL]) as server:
        _, body = await server.chat({**HELLO, "tools": TOOLS})
        events = await server.lines({**HELLO, "tools": TOOLS})

    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events[:-1]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0]["id"]
    assert (
        "".join(call["function"]["arguments"] for call in calls)
        == choice["message"]["tool_calls"][0]["function"]["arguments"]
    )


async def test_clients_are_met_with_leniency(gateway: Any) -> None:
    """Unknown fields, nulls, developer roles, parts, odd biases and max_tokens 0 are no errors."""
    body = {
        **HELLO,
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Hello?"}], "extra": 1},
        ],
        "max_tokens": 0,
        "temperature": None,
        "stop": None,
        "logit_bias": {"not-a-token": 1, "9" * 5000: 1},
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "stream_options": {"include_usage": True},
        "something_new": {"deep": [1]},
    }

    async with gateway(reply="Yes.") as server:
        status, answer = await server.chat(body)

    assert (status, answer["choices"][0]["message"]["content"]) == (200, "Yes.")


async def test_the_openai_sdk_works_streamed_and_not(gateway: Any, speech: str) -> None:
    """The official client asks about a text that is longer than the window."""
    messages: Any = [
        {"role": "system", "content": speech},
        {
            "role": "user",
            "content": "How many displaced persons remained in the United States zone of Germany?",
        },
    ]

    async with gateway(context_length=4096) as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            whole = await client.chat.completions.create(model="local", messages=messages)
            stream = await client.chat.completions.create(model="local", messages=messages, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "460,000" in (whole.choices[0].message.content or "")
    assert "".join(pieces) == whole.choices[0].message.content
    assert whole.model_extra is not None
    assert whole.model_extra["openkimi"]["documents"][0]["characters"] > 150_000


async def test_several_paths_can_be_asked_for_in_the_request(gateway: Any, speech: str) -> None:
    """The extra field openkimi.mpr.candidates switches MPR on for one request."""
    body = {
        "messages": [{"role": "system", "content": speech}, {"role": "user", "content": "What of Germany?"}],
        "openkimi": {"mpr": {"candidates": 2}},
    }

    async with gateway() as server:
        status, answer = await server.chat(body)

        assert status == 200
        assert answer["openkimi"]["paths"] == 2
        assert len(server.backend.requests) == 2


async def test_models_and_health(gateway: Any) -> None:
    """The other addresses answer as the contract has it."""
    async with gateway() as server:
        async with server.http.get("/health") as response:
            assert await response.json() == {"status": "ok", "version": openkimi.__version__}
            size = response.headers["Content-Length"]
        for path in ("/health", "/health/live"):
            async with server.http.head(path) as response:
                assert (response.status, response.headers["Content-Length"]) == (200, size)
        async with server.http.get("/v1/models") as response:
            listed = await response.json()
        async with server.http.get("/v1/models/gpt-4o") as response:
            one = await response.json()
        async with server.http.get("/v1/models/meta-llama/Llama-3.1-8B") as response:
            assert (await response.json())["id"] == "meta-llama/Llama-3.1-8B"

    assert (listed["object"], len(listed["data"])) == ("list", 1)
    assert (one["id"], one["object"]) == ("gpt-4o", "model")


async def test_documents_that_were_sent_are_listed(gateway: Any, speech: str) -> None:
    """GET /v1/documents shows what the memory holds."""
    messages = [{"role": "system", "content": speech}, {"role": "user", "content": "What of Germany?"}]

    async with gateway() as server:
        await server.chat({"messages": messages})
        async with server.http.get("/v1/documents") as response:
            [document] = (await response.json())["data"]

    assert document["id"].startswith("doc_")
    assert document["state"] == "ready"
    assert document["characters"] > 150_000


async def test_requests_carry_an_id(gateway: Any) -> None:
    """The caller's X-Request-Id comes back, and there is one where none was sent."""
    async with gateway() as server:
        async with server.http.get("/health", headers={"X-Request-Id": "mine-1"}) as response:
            assert response.headers["X-Request-Id"] == "mine-1"
        async with server.http.get("/nowhere") as response:
            assert response.headers["X-Request-Id"].startswith("req_")


async def test_requests_run_side_by_side(gateway: Any) -> None:
    """A slow answer holds up no other."""
    async with gateway(reply="Yes.", delay=0.3) as server:
        answers = await asyncio.gather(*(server.chat(HELLO) for _ in range(8)))

    assert [status for status, _ in answers] == [200] * 8
    assert server.backend.peak == 8
