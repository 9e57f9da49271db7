"""What strangers may hold open, and how what is no request is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from openkimi import KimiEngine
from openkimi.api import protocol
from openkimi.api.app import create_app
from openkimi.api.protocol import Protocol
from openkimi.testing import serving

BODY = json.dumps({"messages": [{"role": "user", "content": "Hello?"}]}).encode()
STREAM = json.dumps({"messages": [{"role": "user", "content": "Hello?"}], "stream": True}).encode()
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def chat(*headers: bytes, body: bytes = BODY) -> bytes:
    lines = [b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"POST /v1/chat/completions HTTP/1.1\r\n" + b"\r\n".join([*lines, b"", body])


class Served:
    def __init__(self, plugin: Any, port: int) -> None:
        self.backend, self.port = plugin.backend, port

    async def connect(self, *sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.writelines(sent)
        return reader, writer

    async def exchange(self, *sent: bytes) -> bytes:
        """Send bytes and return what comes back until the gateway closes."""
        reader, writer = await self.connect(*sent)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.transport.abort()

    async def flood(self, begin: bytes, line: bytes) -> bytes:
        """Send without end and return what comes back, which can be lost where the gateway closes first."""
        reader, writer = await self.connect(begin)
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(line)
                await writer.drain()
                await asyncio.sleep(0)
        with suppress(ConnectionError):
            return await reader.read()
        return b""


@pytest.fixture
def served(held: Any) -> Any:
    """Serve a gateway as the command line does: ``async with served(reply="yes") as server``."""

    @asynccontextmanager
    async def start(server: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Served]:
        plugin = held(**options)
        engine = KimiEngine(plugins=[plugin], llm_config={"type": "held"}, rag_config={"type": "held"})
        engine._overrides |= {"embedder": {"type": "held"}, "server": server or {}}
        async with serving(create_app(engine), http=Protocol, ws="none") as url:
            yield Served(plugin, int(url.rpartition(":")[2]))

    return start


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head[9:12]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize("wish", [b"h2c", b"websocket", b"TLS/1.3"])
async def test_a_wish_for_another_protocol_is_ignored(served: Any, wish: bytes) -> None:
    """Java's HttpClient wishes for HTTP/2 in every request: body and connection stay as they are."""
    wished = chat(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + wish, b"HTTP2-Settings: AAEAAEAA")
    last = chat(b"Connection: close, Upgrade", b"Upgrade: " + wish)

    async with served(reply="Yes.") as server:
        answers = await server.exchange(wished, wished, last)

    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b"Yes.") == 3


async def test_a_wish_comes_in_pieces(served: Any) -> None:
    """The body follows its head later, as Java's client sends it."""
    head, _, body = chat(b"Connection: Upgrade, close", b"Upgrade: h2c").partition(b"\r\n\r\n")

    async with served(reply="Yes.") as server:
        reader, writer = await server.connect(head + b"\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(body)
        answer = await reader.read()
        writer.close()

    assert b"Yes." in answer


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"nonsense\r\n\r\n", (400, "invalid_http")),
        (chat(b"Transfer-Encoding: chunked"), (400, "invalid_http")),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", (405, "method_not_allowed")),
    ],
)
async def test_what_is_no_request_is_refused_in_openais_shape(
    served: Any, sent: bytes, error: tuple[int, str]
) -> None:
    """No server behind the gateway would answer it either."""
    async with served() as server:
        answer = await server.exchange(sent)

    assert error_of(answer) == error


@pytest.mark.parametrize("line", [b"X: " + b"a" * 100_000, b"X: a\r\n" * 20_000], ids=["long", "many"])
async def test_an_endless_head_is_refused(served: Any, line: bytes) -> None:
    """Whoever sends it could fill the memory without a key."""
    async with served() as server:
        answer = await server.flood(b"GET /health HTTP/1.1\r\n", line)

    assert not answer or error_of(answer) == (431, "headers_too_large")


async def test_a_head_of_many_kilobytes_is_read(served: Any) -> None:
    """Proxies add long headers, in several pieces."""
    async with served() as server:
        reader, writer = await server.connect(b"GET /health HTTP/1.1\r\n")
        for _ in range(6):
            writer.write(b"X: %b\r\n" % (b"a" * 8000))
            await asyncio.sleep(0.02)
        writer.write(b"Connection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /health HTTP/1.1\r\nX: a"])
async def test_a_head_that_does_not_come_ends_the_connection(
    served: Any, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Silence from the start, or in the middle of a head."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)

    async with served() as server:
        answer = await server.exchange(sent)

    assert error_of(answer) == (408, "request_timeout") if b"GET" in sent else answer == b""


async def test_a_head_that_trickles_ends_the_connection(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte is in time, the head is not."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)

    async with served() as server:
        reader, writer = await server.connect(b"GET /health HTTP/1.1\r\nX: ")
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)
        writer.close()

    assert error_of(await answer) == (408, "request_timeout")


async def test_the_rest_of_a_body_that_nobody_reads_holds_no_connection(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has no key is told so at once, and may send for a while, not for ever."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"

    async with served({"api_keys": ["sk-0123456789abcdef"]}) as server:
        reader, writer = await server.connect(head)
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)
        writer.close()

    assert error_of(await answer) == (401, "invalid_api_key")


async def test_a_slow_answer_is_not_taken_for_a_late_head(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit ends when the head is there."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)

    async with served(reply="One two three four five.", token_delay=0.15) as server:
        answer = await server.exchange(chat(b"Connection: close"))

    assert b"five." in answer


async def test_who_stops_reading_is_cut_off(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is free again, though no deadline is set and the connection is open."""
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.2)

    async with served({"request_timeout": None}, reply="word " * 400_000) as server:
        _, writer = await server.connect(chat(body=STREAM))
        async with asyncio.timeout(20):
            while not server.backend.active:
                await asyncio.sleep(0.01)
            while server.backend.active:
                await asyncio.sleep(0.05)
        writer.transport.abort()


async def test_a_client_that_leaves_with_requests_in_a_row_ends_the_first(served: Any) -> None:
    """The one that is being answered is told, not only the one that came last."""
    async with served(reply="word " * 1000, token_delay=0.05) as server:
        _, writer = await server.connect(chat(body=STREAM), chat(body=STREAM))
        async with asyncio.timeout(10):
            while not server.backend.active:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            while server.backend.active:
                await asyncio.sleep(0.01)


async def test_nonsense_after_a_request_waits_for_its_answer(served: Any) -> None:
    """What was asked for properly is answered in full, then the connection ends."""
    async with served(reply="One two three.", token_delay=0.02) as server:
        answer = await server.exchange(chat(), b"nonsense\r\n\r\n")

    assert answer.count(b"HTTP/1.1") == 1
    assert b"three." in answer
