"""Streams of chat completions: what comes in which order, and what failures look like."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
KEYS = {"message", "type", "param", "code"}


def chunks_of(events: list[str]) -> list[Any]:
    """Decode the events of a whole stream, without comments and [DONE]."""
    events = [event for event in events if not event.startswith(":")]
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


async def writes(url: str, body: Any) -> AsyncIterator[bytes]:
    """Yield each write of a streamed answer as it stands in the chunked transfer coding."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps({**body, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await reader.readuntil(b"\r\n\r\n")
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    writer.close()
    await writer.wait_closed()


async def test_every_event_and_comment_is_one_write(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write on the wire is one event or comment, whole, with its blank line."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.02)
    monkeypatch.setattr("openkimi.api.sse.KEEP_ALIVE_SECONDS", 0.02)
    async with gateway(reply="Zwei\n\n两 \U0001f44d\U0001f3fd.", delay=0.2, token_delay=0.03) as server:
        written = [piece async for piece in writes(server.url, HELLO)]

    assert all(piece.endswith(b"\n\n") and piece.count(b"\n") == 2 for piece in written)
    assert {piece.split(b" ")[0] for piece in written} == {b"data:", b":"}
    assert written[-1] == b"data: [DONE]\n\n"
    content = "".join(
        chunk["choices"][0]["delta"].get("content", "")
        for chunk in chunks_of([piece.decode().removesuffix("\n\n") for piece in written])
    )
    assert content == "Zwei\n\n两 \U0001f44d\U0001f3fd."


async def test_a_comment_follows_as_soon_as_a_stream_has_to_wait(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has come when the status is sent: a comment says so, without waiting for the next interval."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.02)
    async with gateway(reply="Yes.", delay=0.3) as server:
        events = await server.lines(HELLO)

    assert json.loads(events[0][6:])["choices"][0]["delta"]["role"] == "assistant"
    assert events[1].startswith(":")
    assert [event for event in events if event.startswith(":")] == events[1:2]


async def test_a_stream_that_answers_at_once_has_no_comments(gateway: Any) -> None:
    """Comments are for silence."""
    async with gateway(reply="Yes.") as server:
        events = await server.lines(HELLO)

    assert all(event.startswith("data: ") for event in events)


async def test_several_answers_come_side_by_side(gateway: Any) -> None:
    """Each choice has its role first, its own text and one finish reason; id and created are shared."""
    async with gateway(token_delay=0.005) as server:
        _, whole = await server.chat({**HELLO, "n": 3, "seed": 1})
        events = await server.lines({**HELLO, "n": 3, "seed": 1})

    chunks = chunks_of(events)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert len(choices) == len(chunks)
    for expected in whole["choices"]:
        own = [choice for choice in choices if choice["index"] == expected["index"]]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
        assert own[-1]["finish_reason"] == "stop"
        text = "".join(choice["delta"].get("content", "") for choice in own)
        assert text == expected["message"]["content"]
    order = [choice["index"] for choice in choices if choice["delta"].get("content")]
    assert order != sorted(order)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": True, "include_obfuscation": False}, True),
        ({"include_usage": False}, False),
        ({"include_usage": None}, False),
        ({"include_obfuscation": True}, False),
        ({}, False),
        (None, False),
    ],
    ids=str,
)
async def test_usage_comes_when_asked_for(gateway: Any, options: Any, asked: bool) -> None:
    """A last chunk has usage and no choices, all others usage null; unasked, no chunk has either."""
    async with gateway(reply="One two.") as server:
        _, whole = await server.chat({**HELLO, "n": 2, "stream_options": options})
        chunks = chunks_of(await server.lines({**HELLO, "n": 2, "stream_options": options}))

    if asked:
        assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
        assert all(chunk["usage"] is None for chunk in chunks[:-1])
    else:
        assert not any("usage" in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks[: -1 if asked else None])


async def test_streamed_logprobs_are_those_of_the_whole_answer(gateway: Any) -> None:
    """They come with the text that they belong to."""
    body = {**HELLO, "logprobs": True, "top_logprobs": 2}
    async with gateway(reply="One 两 \U0001f44d three.", chunk_size=5) as server:
        _, whole = await server.chat(body)
        chunks = chunks_of(await server.lines(body))

    tokens = []
    for choice in (chunk["choices"][0] for chunk in chunks):
        own = (choice["logprobs"] or {}).get("content", [])
        assert "".join(token["token"] for token in own) == choice["delta"].get("content", "")
        tokens += own
    assert tokens == whole["choices"][0]["logprobs"]["content"]


async def test_streamed_tool_calls_add_up(gateway: Any) -> None:
    """The first piece of a call has its id, type and name, later ones add to the arguments."""
    calls = [{"name": "look_up", "arguments": {"city": "Paris"}}, {"name": "look_up", "arguments": {}}]
    body = {**HELLO, "tools": TOOLS}
    async with gateway(tool_calls=calls) as server:
        _, whole = await server.chat(body)
        chunks = chunks_of(await server.lines(body))

    calls = {}
    for piece in (p for chunk in chunks for p in chunk["choices"][0]["delta"].get("tool_calls", ())):
        if piece["index"] not in calls:
            calls[piece["index"]] = piece
            continue
        assert set(piece) == {"index", "function"}
        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    message = whole["choices"][0]["message"]
    assert [{**call, "index": None} for call in calls.values()] == [
        {**call, "index": None} for call in message["tool_calls"]
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("options", [{"reply": ""}, {"reply": "One two.", "reasoning": "Hm, well."}], ids=str)
async def test_a_stream_and_a_whole_answer_are_the_same(gateway: Any, options: dict[str, Any]) -> None:
    """Also an empty one, and one with reasoning apart."""
    async with gateway(**options) as server:
        _, whole = await server.chat(HELLO)
        chunks = chunks_of(await server.lines(HELLO))

    choice = whole["choices"][0]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == choice["message"]["content"]
    thoughts = "".join(delta.get("reasoning_content", "") for delta in deltas)
    assert thoughts == choice["message"].get("reasoning_content", "")
    assert chunks[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert {key for delta in deltas[1:] for key in delta} <= {"content", "reasoning_content"}


async def test_headers_keep_proxies_from_holding_a_stream_back(gateway: Any) -> None:
    """It is an event stream, not to be cached nor buffered."""
    async with gateway(reply="Yes.") as server:
        async with server.http.post("/v1/chat/completions", json={**HELLO, "stream": True}) as response:
            headers = response.headers
            await response.read()

    assert headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"n": 0}, 400), ({"messages": []}, 400), ({"openkimi": {"documents": ["doc_x"]}}, 404)],
    ids=str,
)
async def test_what_is_wrong_with_a_request_is_a_status(
    gateway: Any, changes: dict[str, Any], status: int
) -> None:
    """Asking for a stream changes nothing about it."""
    async with gateway() as server:
        got, body = await server.chat({**HELLO, **changes, "stream": True})

    assert got == status
    assert set(body["error"]) == KEYS


async def test_a_stranger_gets_a_status(gateway: Any) -> None:
    """A missing key is told before anything is streamed."""
    async with gateway(server={"api_keys": ["sk-0123456789abcdef"]}) as server:
        status, body = await server.chat({**HELLO, "stream": True})

    assert status == 401
    assert set(body["error"]) == KEYS


async def test_a_failure_after_the_status_is_an_event_and_the_end(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Role and comments have been sent: the error comes as data, and no [DONE]."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.02)
    async with gateway(fail_before="it broke", delay=0.2) as server:
        events = await server.lines(HELLO)

        error = json.loads(events[-1].removeprefix("data: "))
        assert set(error) == {"error"}
        assert set(error["error"]) == KEYS
        assert "it broke" in error["error"]["message"]
        assert "data: [DONE]" not in events
        assert server.backend.active == 0
