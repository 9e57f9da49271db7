"""Errors: always in OpenAI's shape, with a status that says whose fault it is."""

import asyncio
import io
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from litestar.exceptions import HTTPException
from structlog.testing import capture_logs

from openkimi import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
    KimiEngine,
    Provider,
    RequestError,
    StorageError,
    UnsupportedParameter,
    hookimpl,
)
from openkimi.api.app import create_app
from openkimi.api.errors import failure_of
from openkimi.api.loading import loading
from openkimi.errors import DocumentNotFound, UpstreamError
from openkimi.testing import serving

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
        body = json.dumps({"messages": [{"role": "user", "content": "Hello? " * 1_500_000}]})
        async with server.http.post("/v1/chat/completions", data=io.BytesIO(body.encode())) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/nowhere", 404, "GET /nowhere"),
        ("POST", "/v1/chat/completion", 404, "/schema"),
        ("POST", "/chat/completions", 404, "addresses begin with /v1"),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/v1/models", 405, "GET"),
        ("PUT", "/health", 405, "GET"),
    ],
)
async def test_errors_of_the_framework_have_the_same_shape(
    gateway: Any, method: str, path: str, status: int, says: str
) -> None:
    """Also what Litestar raises by itself: it says what was asked, and what would be right."""
    async with gateway() as server, server.http.request(method, path) as response:
        got, body, headers = response.status, await response.json(), response.headers

    assert got == status
    assert shape(body) == {"message", "type", "param", "code"}
    assert says in body["error"]["message"]
    assert headers["X-Request-Id"]
    if status == 405:
        assert says in headers["Allow"]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (RequestError("x", param="n"), 400, "invalid_request_error", None),
        (UnsupportedParameter("x"), 400, "invalid_request_error", "unsupported_parameter"),
        (ContextOverflow("x"), 400, "invalid_request_error", "context_length_exceeded"),
        (DocumentNotFound("x"), 404, "not_found_error", "document_not_found"),
        (StorageError("x"), 500, "server_error", "internal_error"),
        (BackendError("x"), 502, "server_error", "backend_error"),
        (BackendUnavailable("x"), 503, "server_error", "backend_unavailable"),
        (BackendTimeout("x"), 504, "server_error", "backend_timeout"),
        (UpstreamError("x", status=400, param="n", code="odd"), 400, "invalid_request_error", "odd"),
        (UpstreamError("x", status=401), 502, "server_error", "backend_error"),
        (UpstreamError("x", status=403), 502, "server_error", "backend_error"),
        (UpstreamError("x", status=418), 502, "server_error", "backend_error"),
        (UpstreamError("x", status=422), 422, "invalid_request_error", None),
        (UpstreamError("x", status=429), 429, "rate_limit_error", "rate_limit_exceeded"),
        (UpstreamError("x", status=500), 502, "server_error", "backend_error"),
        (UpstreamError("x", status=529), 502, "server_error", "backend_error"),
        (HTTPException(status_code=401, detail="x"), 401, "authentication_error", "invalid_api_key"),
        (HTTPException(status_code=403, detail="x"), 403, "permission_error", "forbidden"),
        (HTTPException(status_code=408, detail="x"), 408, "invalid_request_error", "request_timeout"),
        (HTTPException(status_code=413, detail="x"), 413, "invalid_request_error", "request_too_large"),
        (HTTPException(status_code=429, detail="x"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (ValueError("secret"), 500, "server_error", "internal_error"),
        (RecursionError("secret"), 500, "server_error", "internal_error"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_every_error_has_a_status_a_type_and_a_code(
    error: Exception, status: int, kind: str, code: str | None
) -> None:
    """Whose fault it is decides; what nobody foresaw shows nothing of itself."""
    failure = failure_of(error)

    assert (failure.status, failure.detail.type, failure.detail.code) == (status, kind, code)
    assert (failure.retry_after is not None) == (status in {429, 503})
    assert "secret" not in failure.detail.message


@pytest.mark.parametrize("seconds", [math.inf, math.nan, -1.0, 1e300])
def test_a_wait_that_is_no_header_is_left_to_the_gateway(seconds: float) -> None:
    """A plugin or a server behind it may say anything."""
    failure = failure_of(UpstreamError("slow", status=429, retry_after=seconds))

    assert failure.retry_after is not None
    assert 0 < failure.retry_after < 60


async def test_a_value_is_quoted_no_longer_than_it_takes(gateway: Any) -> None:
    """An error stays short, whatever was sent."""
    async with gateway() as server:
        _, word = await server.chat({**HELLO, "tool_choice": "x" * 100_000})
        _, role = await server.chat({"messages": [{"role": "x" * 100_000, "content": "Hello?"}]})
        _, kind = await server.chat({**HELLO, "tools": [{"type": "x" * 100_000}]})

    for body in (word, role, kind):
        assert len(body["error"]["message"]) < 500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": "hot"}, "'temperature': expected a number, got a string"),
        ({"temperature": 3}, "'temperature': expected a number <= 2.0"),
        ({"n": None, "stop": 5}, "'stop': expected a string or an array, got an integer"),
        ({"stream": 1}, "'stream': expected true or false, got an integer"),
        (
            {"tool_choice": "sometimes"},
            "'tool_choice': there is no 'sometimes', send one of 'auto', 'none', 'required'",
        ),
        ({"messages": []}, "'messages': expected an array of length >= 1"),
        ({"messages": [{}]}, "'messages[0].role' is required"),
    ],
    ids=str,
)
async def test_a_message_says_what_to_send(gateway: Any, changes: dict[str, Any], message: str) -> None:
    """In the words of JSON, not in those of Python."""
    async with gateway() as server:
        _, body = await server.chat({**HELLO, **changes})

    assert body["error"]["message"] == message


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


async def test_an_empty_body_is_called_empty(gateway: Any) -> None:
    """The message says what to send, not where a parser stopped."""
    async with gateway() as server, server.http.post("/v1/chat/completions") as response:
        body = await response.json()

    assert response.status == 400
    assert body["error"]["message"] == "the body is empty: send a JSON object"


async def test_who_asks_whether_the_model_is_there_yet_fills_no_log(held: Any) -> None:
    """/health is asked each second while it loads: its 503 is no news, that of others is."""

    @asynccontextmanager
    async def opened(options: object, context: object) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    def register() -> Any:
        return [Provider("large", opened)]

    plugin, large = held(), SimpleNamespace(__name__="large", register_backends=hookimpl(register))
    engine = KimiEngine(plugins=[plugin, large])
    engine._overrides |= {**plugin.config, "llm": {"type": "large"}}
    app, statuses = create_app(engine, lifespan=loading(engine, lambda error: None)), []
    with capture_logs() as logs:
        async with serving(app) as url, aiohttp.ClientSession(url) as http:
            for path in ("/health", "/health/ready", "/v1/models"):
                async with http.get(path) as response:
                    statuses.append((response.status, response.headers["Retry-After"]))

    assert statuses == [(503, "2")] * 3
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["request_failed"]
