"""The backend `openai` streams from any server of that interface, and says plainly what goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from openkimi import (
    Backend,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ConfigError,
    Delta,
    GenerateRequest,
    ImagePart,
    Message,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    UpstreamError,
    Usage,
)
from openkimi.testing import open_component
from openkimi_openai import register_backends
from openkimi_openai.options import OpenAIOptions
from openkimi_openai.payload import encode_request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "sk-test-4711"


class Upstream:
    """A real server on a loopback socket that remembers what it was sent."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.requests: list[tuple[web.Request, Any]] = []
        self.active = self.peak = 0
        self.left = asyncio.Event()
        self.url = ""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.json()))
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            return await self._handler(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        finally:
            self.active -= 1

    @property
    def payload(self) -> Any:
        return self.requests[-1][1]

    @property
    def authorization(self) -> str | None:
        return self.requests[-1][0].headers.get("Authorization")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)


def streaming(*events: Any, size: int = 10_000, done: bool = True) -> Handler:
    """Stream events in pieces of ``size`` bytes."""
    text = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events)
    data = (text + ("data: [DONE]\r\n\r\n" if done else "")).encode()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at in range(0, len(data), size):
            await response.write(data[at : at + size])
            await asyncio.sleep(0)
        return response

    return handler


def piece(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


HELLO = (piece(role="assistant"), piece(content="Hello, "), piece(content="世界"), piece("stop"))


def ask(text: str = "Hi", **settings: Any) -> GenerateRequest:
    return GenerateRequest(messages=(Message(role="user", content=text),), **{"max_tokens": 64, **settings})


@asynccontextmanager
async def opened(upstream: Upstream | str, **options: Any) -> AsyncIterator[Backend]:
    (provider,) = register_backends()
    url = upstream if isinstance(upstream, str) else upstream.url
    async with open_component(provider, **{"api_url": url, "model_name": "m", **options}) as backend:
        yield backend


async def collect(backend: Backend, request: GenerateRequest | None = None) -> list[Delta]:
    return [delta async for delta in backend.generate(request or ask())]


async def answered(handler: Handler, request: GenerateRequest | None = None, **options: Any) -> list[Delta]:
    async with Upstream(handler).running() as upstream, opened(upstream, **options) as backend:
        return await collect(backend, request)


async def sent(request: GenerateRequest, **options: Any) -> Any:
    async with Upstream(streaming(*HELLO)).running() as upstream, opened(upstream, **options) as backend:
        await collect(backend, request)
        return upstream.payload


def text(deltas: list[Delta]) -> str:
    return "".join(delta.content for delta in deltas)


@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_streams_in_pieces_of_any_size(size: int) -> None:
    """Text comes as it is streamed, and the last delta has the reason and the usage that came after it."""
    usage = {
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    deltas = await answered(streaming(*HELLO, usage, size=size))

    assert [delta.content for delta in deltas] == ["Hello, ", "世界", ""]
    assert [delta.finish_reason for delta in deltas] == [None, None, "stop"]
    assert deltas[-1].usage == Usage(
        prompt_tokens=9, completion_tokens=4, cached_tokens=5, reasoning_tokens=1
    )


async def test_first_delta_does_not_wait_for_the_second() -> None:
    """A delta is passed on while the server still thinks about the next."""
    go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        await go_on.wait()
        await response.write(b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n')
        return response

    async with Upstream(handler).running() as upstream, opened(upstream) as backend:
        deltas = backend.generate(ask())
        first = await anext(deltas)
        go_on.set()

        assert first.content == "a"
        assert [delta.finish_reason async for delta in deltas] == ["length"]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (streaming(*HELLO, done=False), "stop"),
        (streaming(*HELLO[:3]), "stop"),
        (streaming(*HELLO[:3], piece("eos_token")), "stop"),
        (streaming(*HELLO[:3], {}, {"choices": None}, piece("content_filter")), "content_filter"),
    ],
    ids=["no DONE", "no finish reason", "unknown reason", "odd chunks"],
)
async def test_tolerates_what_servers_forget(handler: Handler, reason: str) -> None:
    """A missing `[DONE]`, a missing or unknown reason and chunks without choices are no error."""
    deltas = await answered(handler)

    assert text(deltas) == "Hello, 世界"
    assert deltas[-1].finish_reason == reason


async def test_a_whole_completion_instead_of_a_stream() -> None:
    """A server that does not stream is understood."""

    async def handler(request: web.Request) -> web.Response:
        message = {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "reasoning": "Hm"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 3}})

    deltas = await answered(handler)

    assert (text(deltas), deltas[0].reasoning) == ("Hello", "Hm")
    assert deltas[-1] == Delta(finish_reason="stop", usage=Usage(prompt_tokens=3))


async def test_reasoning_refusal_and_logprobs() -> None:
    """Reasoning under either name, refusals and log-probabilities are passed on."""
    top = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}, {"token": "Yo", "logprob": -2}]
    logprobs = {"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": top}]}
    said = {"choices": [{"delta": {"content": "Hi"}, "logprobs": logprobs}]}
    deltas = await answered(
        streaming(piece(reasoning_content="a"), piece(reasoning="b"), said, piece("stop", refusal="No."))
    )

    assert [delta.reasoning for delta in deltas[:2]] == ["a", "b"]
    (chosen,) = deltas[2].logprobs
    assert (chosen.token, chosen.logprob, chosen.bytes) == ("Hi", -0.5, [72, 105])
    assert [(other.token, other.logprob) for other in chosen.top_logprobs] == [("Hi", -0.5), ("Yo", -2)]
    assert deltas[3].content == "No."


def call(index: int | None, id: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    given = {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
    return piece(tool_calls=[given])


@pytest.mark.parametrize(
    "pieces",
    [
        (
            call(0, "c1", "f", ""),
            call(0, None, None, '{"x":'),
            call(0, None, None, "1}"),
            call(1, "c2", "g", "{}"),
        ),
        (call(0, "c1", "f", '{"x":'), call(0, "c1", "f", "1}"), call(1, "c2", "g", {})),
        (call(None, "c1", "f", '{"x":'), call(None, None, None, "1}"), call(None, "c2", "g", "{}")),
    ],
    ids=["as OpenAI", "names repeated", "no index"],
)
async def test_tool_calls(pieces: tuple[Any, ...]) -> None:
    """Pieces of tool calls add up, also where a server repeats names or forgets the index."""
    deltas = await answered(streaming(*pieces, piece("tool_calls")))
    parts = [part for delta in deltas for part in delta.tool_calls]

    assert [(part.index, part.id, part.name) for part in parts if part.name] == [
        (0, "c1", "f"),
        (1, "c2", "g"),
    ]
    assert "".join(part.arguments for part in parts if part.index == 0) == '{"x":1}'
    assert "".join(part.arguments for part in parts if part.index == 1) == "{}"
    assert deltas[-1].finish_reason == "tool_calls"


async def test_a_tool_call_without_id_gets_one() -> None:
    """A call that the server gave no id has one, since the caller must be able to answer it."""
    deltas = await answered(streaming(call(0, None, "f", "{}"), piece("tool_calls")))

    assert deltas[0].tool_calls[0].id


async def test_sends_little_by_default() -> None:
    """A plain request carries the model, the messages, the limit and nothing else."""
    assert await sent(ask("Hi")) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
    }


async def test_sends_every_setting() -> None:
    """Every setting that differs from its default is sent, in OpenAI's shape."""
    tool = Tool(name="f", description="d", parameters={"type": "object"}, strict=True)
    payload = await sent(
        ask(
            temperature=0.0,
            top_p=0.5,
            presence_penalty=1.0,
            frequency_penalty=-1.0,
            logit_bias={7: -100.0},
            stop=("a", "b"),
            seed=0,
            logprobs=True,
            top_logprobs=2,
            response_format=ResponseFormat(type="json_schema", name="n", schema={"type": "object"}),
            tools=(tool, Tool(name="g")),
            tool_choice=ToolChoice(mode="named", name="f"),
            parallel_tool_calls=False,
            user="u",
        ),
        max_tokens_field="max_completion_tokens",
        max_output_tokens=50,
    )

    for common in ("model", "messages", "stream", "stream_options"):
        del payload[common]
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    assert payload == {
        "max_completion_tokens": 50,
        "temperature": 0.0,
        "top_p": 0.5,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "logit_bias": {"7": -100.0},
        "stop": ["a", "b"],
        "seed": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}},
        },
        "tools": [
            {"type": "function", "function": function},
            {"type": "function", "function": {"name": "g"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "user": "u",
    }


async def test_sends_messages_of_every_kind() -> None:
    """Roles, names, parts, images and tool calls arrive as they are; text parts become one text."""
    image = ImagePart(url="data:image/png;base64,AA==", detail="low")
    messages = (
        Message(role="developer", content="Be brief.", name="dev"),
        Message(role="user", content=(TextPart(text="a"), TextPart(text="b \ud800"))),
        Message(role="user", content=(TextPart(text="Look:"), image)),
        Message(role="assistant", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),)),
        Message(role="tool", content="done", tool_call_id="c"),
    )
    payload = await sent(GenerateRequest(messages=messages, max_tokens=5))

    assert payload["messages"] == [
        {"role": "developer", "content": "Be brief.", "name": "dev"},
        {"role": "user", "content": "a\n\nb ?"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": image.url, "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "done", "tool_call_id": "c"},
    ]


def failing(status: int, body: Any = None, times: int = 99, **headers: str) -> Handler:
    """Answer with an error some times, then stream."""
    tried = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal tried
        tried += 1
        if tried > times:
            return await streaming(*HELLO)(request)
        return web.Response(
            status=status,
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    return handler


async def test_an_upstream_error_keeps_what_the_server_said() -> None:
    """Status, message, param and code of the server's error come through, and it is asked only once."""
    error = {"message": "bad   logit_bias", "type": "invalid", "param": "logit_bias", "code": "bad_value"}
    async with Upstream(failing(400, {"error": error})).running() as upstream, opened(upstream) as backend:
        with pytest.raises(UpstreamError, match="answered 400: bad logit_bias") as caught:
            await collect(backend)

        assert (caught.value.status, caught.value.param, caught.value.code) == (
            400,
            "logit_bias",
            "bad_value",
        )
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "plain"}, "plain"),
        ({"detail": "from FastAPI"}, "from FastAPI"),
        ({"object": "error", "message": "flat"}, "flat"),
        (b"just text", "just text"),
        (b"<html>gateway</html>", "no reason given"),
        ({"error": {"message": 5}}, "no reason given"),
        (b"\xff\x00" + b"x" * 200_000, "x"),
    ],
)
async def test_errors_of_any_shape(body: Any, said: str) -> None:
    """However a server words its error, one line of it is shown."""
    with pytest.raises(UpstreamError, match=said) as caught:
        await answered(failing(500, body))

    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 700


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_secrets_are_never_shown(status: int) -> None:
    """The key and the values of headers stay out of messages, even if the server repeats them."""
    body = {"error": {"message": f"Incorrect key {KEY}, header s3cret"}}
    with pytest.raises(UpstreamError) as caught:
        await answered(failing(status, body), api_key=KEY, headers={"X-Key": "s3cret"})

    assert KEY not in caught.value.message
    assert "s3cret" not in caught.value.message


async def test_a_refused_key_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 401 the message names where the key came from, or where to set one."""
    with pytest.raises(UpstreamError, match=r"check llm\.api_key"):
        await answered(failing(401), api_key=KEY)
    with pytest.raises(UpstreamError, match=r"set llm\.api_key \(OPENAI_API_KEY is not sent"):
        await answered(failing(401))
    async with Upstream(failing(401)).running() as upstream:
        monkeypatch.setenv("OPENAI_API_BASE", upstream.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        (provider,) = register_backends()
        async with open_component(provider, model_name="m") as backend:
            with pytest.raises(UpstreamError, match=r"OPENAI_API_BASE.*check OPENAI_API_KEY"):
                await collect(backend)


async def test_redirects_are_not_followed() -> None:
    """A key never travels to wherever a server points to."""
    with pytest.raises(UpstreamError, match="final address") as caught:
        await answered(failing(307, Location="http://127.0.0.1:1/v1/chat/completions"), api_key=KEY)

    assert caught.value.status == 307


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_retries_until_the_server_is_well(status: int) -> None:
    """An overloaded server is asked again, as often as configured."""
    async with (
        Upstream(failing(status, times=2, Retry_After="0")).running() as upstream,
        opened(upstream) as b,
    ):
        assert text(await collect(b)) == "Hello, 世界"
        assert len(upstream.requests) == 3


async def test_retries_end() -> None:
    """After the last try the server's error comes through, with the time to wait."""
    async with (
        Upstream(failing(503, Retry_After="0")).running() as upstream,
        opened(upstream, retries=1) as backend,
    ):
        with pytest.raises(UpstreamError) as caught:
            await collect(backend)

        assert (caught.value.status, caught.value.retry_after) == (503, 0.0)
        assert len(upstream.requests) == 2


async def test_a_long_break_is_left_to_the_caller() -> None:
    """Nobody is kept waiting for a `Retry-After` of minutes."""
    async with Upstream(failing(429, Retry_After="120")).running() as upstream, opened(upstream) as backend:
        with pytest.raises(UpstreamError) as caught:
            await collect(backend)

        assert caught.value.retry_after == 120
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("9" * 400, 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        (f"Wed, 21 Oct {'9' * 20} 07:28:00", None),
    ],
)
async def test_a_break_without_end_is_shortened(value: str, seconds: float | None) -> None:
    """No number of a server is too large to be told on."""
    async with (
        Upstream(failing(429, Retry_After=value)).running() as upstream,
        opened(upstream, retries=0) as backend,
    ):
        with pytest.raises(UpstreamError) as caught:
            await collect(backend)

    assert caught.value.retry_after == seconds


async def test_a_compressed_answer_is_told_as_such() -> None:
    """Servers are asked not to compress; one that does it all the same is named."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        response = web.json_response({"choices": []})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    with pytest.raises(BackendError, match=r"compressed its answer \(gzip\)"):
        await answered(handler)


async def test_retries_a_connection_that_breaks_before_the_answer() -> None:
    """A connection that the server drops before it answers is tried again."""
    tried = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal tried
        tried += 1
        if tried == 1:
            assert request.transport is not None
            request.transport.abort()
        return await streaming(*HELLO)(request)

    assert text(await answered(handler)) == "Hello, 世界"
    assert tried == 2


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "out of memory"}}\n\n',
        b'data: {"error": "out of memory"}\n\n',
        b'event: error\ndata: {"message": "out of memory"}\n\n',
        b"event: error\ndata: out of memory\n\n",
    ],
)
async def test_an_error_in_the_middle(event: bytes) -> None:
    """An error event ends the answer with that error, after what was said before, without a retry."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' + event)
        return response

    async with Upstream(handler).running() as upstream, opened(upstream) as backend:
        deltas = backend.generate(ask())

        assert (await anext(deltas)).content == "a"
        with pytest.raises(BackendError, match="out of memory"):
            await anext(deltas)
        assert len(upstream.requests) == 1


async def test_a_cut_stream_is_an_error() -> None:
    """An answer that ends without a reason or `[DONE]`, or breaks off, never looks complete."""

    async def breaking(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    with pytest.raises(BackendError, match="in the middle"):
        await answered(streaming(*HELLO[:3], done=False))
    with pytest.raises(BackendError, match="broke off"):
        await answered(breaking)
    with pytest.raises(BackendError, match="no chunk"):
        await answered(streaming({"choices": "?"}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_refused_connection() -> None:
    """A server that is not there is named with the setting to look at."""
    port = free_port()
    async with opened(f"http://127.0.0.1:{port}/v1", retries=1) as backend:
        with pytest.raises(BackendUnavailable) as caught:
            await collect(backend)

    assert caught.value.message == f"cannot reach 127.0.0.1:{port} (llm.api_url): Connection refused"


async def test_a_silent_server_times_out() -> None:
    """A server that sends nothing for too long is given up, before the answer and in its middle."""

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async def stuck(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        await asyncio.sleep(60)
        raise AssertionError

    for handler in (silent, stuck):
        with pytest.raises(BackendTimeout, match=r"0\.2 s"):
            await asyncio.wait_for(answered(handler, timeout=0.2), 4)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        await asyncio.sleep(0.005)


async def test_closing_the_answer_closes_the_connection() -> None:
    """A server notices at once that nobody reads on, and the slot is free for the next request."""
    async with Upstream(endless).running() as upstream, opened(upstream, concurrency=1) as backend:
        for _ in range(2):
            deltas = backend.generate(ask())
            await anext(deltas)
            await deltas.aclose()  # type: ignore[attr-defined]
            await asyncio.wait_for(upstream.left.wait(), 5)
            upstream.left.clear()

        assert upstream.active == 0


async def test_cancelling_before_the_answer_closes_the_connection() -> None:
    """A caller that leaves while the server reads the prompt frees the server as well."""

    async def silent(request: web.Request) -> web.StreamResponse:
        started.set()
        await asyncio.sleep(60)
        raise AssertionError

    started = asyncio.Event()
    async with Upstream(silent).running() as upstream, opened(upstream) as backend:
        task = asyncio.create_task(collect(backend))
        await started.wait()
        task.cancel()

        await asyncio.wait_for(upstream.left.wait(), 5)
        assert task.cancelled() or task.cancelling()


async def test_concurrency_is_bounded() -> None:
    """No more calls than configured are under way at the same time, and all get their answer."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return await streaming(*HELLO)(request)

    async with Upstream(slow).running() as upstream, opened(upstream, concurrency=3) as backend:
        answers = await asyncio.gather(*(collect(backend) for _ in range(10)))

        assert [text(deltas) for deltas in answers] == ["Hello, 世界"] * 10
        assert upstream.peak == 3


async def test_connections_are_used_again() -> None:
    """A finished answer leaves its connection open for the next one."""

    async def ending_late(request: web.Request) -> web.StreamResponse:
        response = await streaming(*HELLO)(request)
        await asyncio.sleep(0.005)
        return response

    async with Upstream(ending_late).running() as upstream, opened(upstream) as backend:
        peers = set()
        for _ in range(3):
            await collect(backend)
            peers.add(upstream.requests[-1][0]._transport_peername)

        assert len(peers) == 1


async def test_the_environments_key_goes_to_no_address_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENAI_API_KEY` is not sent to an `api_url` from the file, even if it is `OPENAI_API_BASE`."""
    async with Upstream(streaming(*HELLO)).running() as upstream:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        async with opened(upstream) as backend:
            await collect(backend)
        assert upstream.authorization is None

        monkeypatch.setenv("OPENAI_API_BASE", upstream.url)
        async with opened(upstream) as backend:
            await collect(backend)
        assert upstream.authorization is None


async def test_the_environments_key_goes_to_the_environments_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an `api_url` in the file, `OPENAI_API_BASE` is called with `OPENAI_API_KEY`."""
    async with Upstream(streaming(*HELLO)).running() as upstream:
        monkeypatch.setenv("OPENAI_API_BASE", upstream.url + "/")
        monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
        (provider,) = register_backends()
        async with open_component(provider, model_name="m") as backend:
            await collect(backend)

        assert upstream.authorization == f"Bearer {KEY}"


async def test_keys_and_headers_of_the_file_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's key beats the environment's, and further headers go along."""
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    async with Upstream(streaming(*HELLO)).running() as upstream:
        async with opened(upstream, api_key=KEY, headers={"X-Team": "red"}) as backend:
            await collect(backend)
        assert upstream.authorization == f"Bearer {KEY}"
        assert upstream.requests[-1][0].headers["X-Team"] == "red"

        async with opened(upstream, api_key=KEY, headers={"Authorization": "Basic x"}) as backend:
            await collect(backend)
        assert upstream.authorization == "Basic x"


async def test_counts_are_estimates() -> None:
    """Four letters or 1.2 CJK characters are a token, rounded up; an object sets other ratios."""
    async with opened("http://127.0.0.1:1/v1", context_length=4096) as backend:
        assert backend.context_window == 4096
        assert await backend.count_tokens(["abcd" * 100, "你好" * 60, "", "a", "a b c d", "a" * 400_000]) == [
            100,
            100,
            0,
            1,
            4,
            100_000,
        ]
        plain = await backend.count_prompt(ask("abcd"))
        assert plain >= 1 + 4
        assert await backend.count_prompt(ask("abcd", tools=(Tool(name="f" * 40),))) > plain + 10
    ratios = {"characters_per_token": 2, "cjk_characters_per_token": 0.5}
    async with opened("http://127.0.0.1:1/v1", tokenizer=ratios) as backend:
        assert await backend.count_tokens(["abcd" * 100, "你好" * 60]) == [200, 240]


@pytest.mark.parametrize("code", range(128))
async def test_every_character_counts_alike_in_all_texts(code: int) -> None:
    """What is counted faster in a text of ASCII counts as it does beside another script."""
    text = f"{chr(code) * 10} x{chr(code)}" * 10

    async with opened("http://127.0.0.1:1/v1") as backend:
        [alone, beside] = await backend.count_tokens([text, text + "你" * 12])

    assert beside == alone + 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"api_url": "127.0.0.1:8080/v1"}, "api_url: expected an address"),
        ({"api_url": "ftp://host/v1"}, "api_url: expected an address"),
        ({"api_url": "http://"}, "api_url: expected an address"),
        ({"api_url": "http://host:99999/v1"}, "api_url: expected an address"),
        ({"api_url": "http://ho st/v1"}, "api_url: expected an address"),
        ({"api_url": "http://a..b/v1"}, "api_url: expected an address"),
        ({"api_url": f"http://{'ü' * 70}/v1"}, "api_url: expected an address"),
        ({"api_url": "http://user:pass@host/v1"}, "api_url: must not hold a user"),
        ({"api_url": "http://host/v1?key=1"}, "api_url: must not hold a user"),
        ({"api_url": "http://host/v1/chat/completions"}, "without /chat/completions"),
        ({"api_url": None}, "api_key: OpenAI's own address needs a key"),
        ({"api_key": "a\nb"}, "api_key: has characters"),
        ({"headers": {"a b": "x"}}, "headers: 'a b'"),
        ({"headers": {"X-A": "x\r\ny: z"}}, "headers.X-A: has characters"),
        ({"model_name": ""}, "model_name"),
        ({"context_length": 10}, "context_length"),
        ({"tokenizer": "exact"}, "tokenizer"),
    ],
)
async def test_wrong_options_are_found_before_anything_is_opened(options: Any, message: str) -> None:
    """Each wrong option is a ConfigError that names it and shows no secret."""
    with pytest.raises(ConfigError) as caught:
        async with opened("http://127.0.0.1:1/v1", **options):
            pass

    assert message in caught.value.message
    assert "pass@" not in caught.value.message


async def test_a_model_name_is_required() -> None:
    """Without a model's name there is nothing to ask for."""
    (provider,) = register_backends()
    with pytest.raises(ConfigError, match="model_name: required"):
        async with open_component(provider, api_url="http://127.0.0.1:1/v1"):
            pass


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://API.openai.com:443/v1/", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com.evil.example/v1", False),
        ("https://api.openai.com/v2", False),
    ],
)
def test_what_counts_as_openais_own_address(monkeypatch: pytest.MonkeyPatch, url: str, own: bool) -> None:
    """The environment's key goes to exactly OpenAI's address, over TLS, and to nothing that looks like it."""
    from openkimi_openai.address import resolve
    from openkimi_openai.options import ServerOptions

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    address = resolve(ServerOptions(api_url=url, model_name="m"))

    assert (address.key is not None) is own


def test_a_limit_that_nobody_set_is_not_sent() -> None:
    """The server fills its own window: our estimate of the prompt could make it refuse the sum."""
    request = GenerateRequest(messages=(Message(role="user", content="x"),), max_tokens=900, limited=False)

    assert "max_tokens" not in encode_request(request, OpenAIOptions(model_name="m"))
    assert encode_request(request, OpenAIOptions(model_name="m", max_output_tokens=50))["max_tokens"] == 50


async def test_a_whole_answer_is_asked_for_whole() -> None:
    """Where nobody reads along the server is asked for one JSON answer, unless the option says otherwise."""

    async def handler(request: web.Request) -> web.StreamResponse:
        message = {"role": "assistant", "content": "Hello, 世界"}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})

    async with Upstream(handler).running() as upstream, opened(upstream) as backend:
        first, last = await collect(backend, ask(stream=False))

        assert (first.content, last.finish_reason) == ("Hello, 世界", "length")
        assert last.usage == Usage(prompt_tokens=3, completion_tokens=4)
        assert {"stream", "stream_options"} & upstream.payload.keys() == set()

    async with (
        Upstream(streaming(*HELLO)).running() as upstream,
        opened(upstream, stream="always") as backend,
    ):
        assert text(await collect(backend, ask(stream=False))) == "Hello, 世界"
        assert upstream.payload["stream"] is True
