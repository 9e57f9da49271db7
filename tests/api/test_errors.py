"""Errors: always in OpenAI's shape, with a status that says whose fault it is."""

import io
import json
from typing import Any

import pytest

BAD_SCHEMA = {"properties": "x", "required": ["a"]}
HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


def shape(body: Any) -> set[str]:
    return set(body["error"])


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"n": 0}, "n"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.schema",
        ),
        ({"openkimi": {"documents": ["doc_unknown"]}}, "openkimi.documents"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"properties": "x", "required": ["a"]}},
                }
            },
            None,
        ),
    ],
)
async def test_a_wrong_field_is_named(gateway: Any, changes: dict[str, Any], param: str | None) -> None:
    """A 4xx says which parameter is wrong."""
    async with gateway() as server:
        status, body = await server.chat({**HELLO, **changes})

    assert status in {400, 404}
    assert shape(body) == {"message", "type", "param", "code"}
    assert body["error"]["param"] == param
    assert body["error"]["type"] in {"invalid_request_error", "not_found_error"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"messages": "\xff"}', 400),
        (b"[" * 100_000, 400),
    ],
)
async def test_a_body_that_is_no_json_is_refused(gateway: Any, data: bytes, status: int) -> None:
    """Whatever arrives, the answer is a 400 in the right shape."""
    async with gateway() as server, server.http.post("/v1/chat/completions", data=data) as response:
        assert response.status == status
        assert shape(await response.json()) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("kind", "status"), [("backend", 502), ("unavailable", 503), ("timeout", 504)])
async def test_a_backends_failure_has_its_status(gateway: Any, kind: str, status: int) -> None:
    """Before the first byte a failure is an HTTP status, streamed or not."""
    async with gateway(fail_before="it broke", fail_kind=kind) as server:
        got, body = await server.chat(HELLO)
        streamed, streamed_body = await server.chat({**HELLO, "stream": True})

    assert (got, streamed) == (status, status)
    assert "it broke" in body["error"]["message"]
    assert streamed_body == body


async def test_a_failure_in_a_stream_is_an_event_and_its_end(gateway: Any) -> None:
    """After the first byte an error event ends the stream, without [DONE]."""
    async with gateway(reply="One two three four.", fail_after=3) as server:
        events = await server.lines(HELLO)

        assert "error" in json.loads(events[-1].removeprefix("data: "))
        assert "data: [DONE]" not in events
        assert server.backend.active == 0


async def test_a_client_that_must_wait_is_told_how_long(gateway: Any) -> None:
    """503 comes with Retry-After."""
    async with gateway(fail_before="busy", fail_kind="unavailable") as server:
        async with server.http.post("/v1/chat/completions", json=HELLO) as response:
            assert int(response.headers["Retry-After"]) > 0


async def test_a_body_over_the_limit_is_refused(gateway: Any) -> None:
    """server.max_body_size is honoured, and the message names it."""
    async with gateway(server={"max_body_size": "2KB"}) as server:
        status, body = await server.chat({"messages": [{"role": "user", "content": "x" * 3000}]})
        fine, _ = await server.chat(HELLO)

    assert (status, fine) == (413, 200)
    assert "server.max_body_size" in body["error"]["message"]


async def test_a_body_over_ten_megabytes_is_taken(gateway: Any) -> None:
    """The framework's own limit of 10 MB does not hold here."""
    async with gateway() as server:
        body = json.dumps({"messages": [{"role": "user", "content": "Hello? " * 2_000_000}]})
        async with server.http.post("/v1/chat/completions", data=io.BytesIO(body.encode())) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/chat/completions", 405)]
)
async def test_errors_of_the_framework_have_the_same_shape(
    gateway: Any, method: str, path: str, status: int
) -> None:
    """Also what Litestar raises by itself is in OpenAI's shape."""
    async with gateway() as server, server.http.request(method, path) as response:
        assert response.status == status
        assert shape(await response.json()) == {"message", "type", "param", "code"}


async def test_keys_keep_strangers_out(gateway: Any) -> None:
    """With server.api_keys a request needs one of them, by either header; /health stays open."""
    async with gateway(server={"api_keys": ["sk-one", "sk-two", "sk-schlüssel"]}) as server:
        utf8, _ = await server.chat(HELLO, headers={"X-Api-Key": "sk-schlüssel"})
        without, body = await server.chat(HELLO)
        wrong, _ = await server.chat(HELLO, headers={"Authorization": "Bearer sk-three"})
        bearer, _ = await server.chat(HELLO, headers={"Authorization": "Bearer sk-two"})
        header, _ = await server.chat(HELLO, headers={"X-Api-Key": "sk-one"})
        async with server.http.get("/health") as response:
            health = response.status

    assert (without, wrong, bearer, header, utf8, health) == (401, 401, 200, 200, 200, 200)
    assert "sk-" not in json.dumps(body)


async def test_one_bad_request_harms_no_other(gateway: Any) -> None:
    """After refused requests the next one is answered."""
    async with gateway(reply="Yes.") as server:
        for _ in range(20):
            await server.chat({"messages": 5})
        status, body = await server.chat(HELLO)

    assert (status, body["choices"][0]["message"]["content"]) == (200, "Yes.")
