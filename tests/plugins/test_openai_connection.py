"""Connections to a server: kept, replaced when they went stale, and read as HTTP/1.1 says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from openkimi_openai.connection import Broken
from openkimi_openai.pool import Pool

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Takes connections and answers each by a script; remembers the heads it was sent."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


@asynccontextmanager
async def pooled(script: Script, **headers: str) -> AsyncIterator[tuple[Server, Pool]]:
    async with Server(script).running() as server:
        pool = Pool(f"http://127.0.0.1:{server.port}/v1", headers, connect_timeout=5)
        try:
            yield server, pool
        finally:
            pool.close()


async def head(reader: asyncio.StreamReader) -> bytes:
    """Read a request whose body is ``{}``."""
    read = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(2)
    return read


async def body(pool: Pool, *, silence: float = 5.0) -> bytes:
    connection = await pool.post("chat", b"{}", silence=silence)
    try:
        return await connection.read()
    finally:
        pool.release(connection)


def answering(*answers: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await head(reader)
            writer.write(answer)
            await writer.drain()

    return script


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        OK + b"Connection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    ],
    ids=["length", "chunked", "close", "1.0", "continue"],
)
async def test_bodies_of_every_framing(answer: bytes) -> None:
    """A length, chunks or the connection's end tell where a body ends; 1xx is no answer."""
    async with pooled(answering(answer)) as (_, pool):
        assert await body(pool) == b"hello"


async def test_what_is_sent() -> None:
    """The path joins the base's, our headers are sent once, framing is not the user's to set."""
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await head(reader))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    headers = {"authorization": "Bearer k", "content-length": "9", "transfer-encoding": "chunked"}
    async with pooled(script, **headers) as (server, pool):
        await body(pool)

    host = f"Host: 127.0.0.1:{server.port}"
    lines = ["POST /v1/chat HTTP/1.1", host, "authorization: Bearer k", "Content-Length: 2", "", ""]
    assert heads[0].decode().split("\r\n") == lines


async def test_a_connection_is_kept() -> None:
    """Requests in a row share a connection."""
    answer = OK + b"Content-Length: 1\r\n\r\nx"
    async with pooled(answering(answer, answer, answer)) as (server, pool):
        for _ in range(3):
            assert await body(pool) == b"x"

        assert server.connections == 1


async def test_a_stale_connection_is_replaced_at_once() -> None:
    """A server that closes a kept connection when the next request comes is asked again, anew."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK + b"Content-Length: 1\r\n\r\nx")
        await head(reader)

    async with pooled(script) as (server, pool):
        assert await body(pool) == b"x"
        assert await body(pool) == b"x"

        assert server.connections == 2


async def test_an_answer_that_broke_off_is_not_asked_for_again() -> None:
    """Once something of an answer came, its end is an error."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK + b"Content-Length: 1\r\n\r\nx")
        await head(reader)
        writer.write(OK + b"Content-Length: 9\r\n\r\nx")

    async with pooled(script) as (server, pool):
        await body(pool)
        with pytest.raises(Broken):
            await body(pool)

        assert server.connections == 1


async def test_what_is_no_http_is_an_error() -> None:
    """Nonsense never passes for an answer."""
    async with pooled(answering(b"SSH-2.0-OpenSSH\r\n")) as (_, pool):
        with pytest.raises(Broken, match="no HTTP"):
            await body(pool)


async def test_what_follows_an_answer_unasked_spoils_the_connection() -> None:
    """It could be taken for the answer to the next request."""
    answer = OK + b"Content-Length: 1\r\n\r\nxHTTP/1"
    async with pooled(answering(answer, answer)) as (server, pool):
        for _ in range(2):
            assert await body(pool) == b"x"

        assert server.connections == 2


async def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    """Two whole answers come at once: the first counts as it is, and the connection is given up."""
    answer = OK + b"Content-Length: 1\r\n\r\nx"
    other = b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nother"
    async with pooled(answering(answer + other, answer)) as (server, pool):
        connection = await pool.post("chat", b"{}", silence=5)
        assert (await connection.read(), connection.status) == (b"x", 200)
        pool.release(connection)
        assert await body(pool) == b"x"

        assert server.connections == 2


async def test_a_reset_is_no_end_of_an_answer() -> None:
    """Only a proper end completes an answer without a length."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK + b"\r\nhalf")
        await asyncio.sleep(0.1)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with pooled(script) as (_, pool):
        with pytest.raises(ConnectionError):
            await body(pool)


@pytest.mark.parametrize("line", [b"X: a\r\n" * 1000, b"a" * 10_000])
async def test_headers_without_end_are_an_error(line: bytes) -> None:
    """A server gone mad does not fill the memory."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK + b"X: ")
        while True:
            writer.write(line)
            await writer.drain()

    async with pooled(script) as (_, pool):
        with pytest.raises(Broken, match="headers without end"):
            await body(pool)


async def test_a_change_of_protocol_is_an_error() -> None:
    """101 answers a wish that nobody had."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    async with pooled(answering(switch)) as (_, pool):
        with pytest.raises(Broken, match="another protocol"):
            await body(pool)


async def test_a_connection_that_is_not_being_read_is_not_kept() -> None:
    """What lies unread when an answer is given up would hold up the next one."""
    large = OK + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    async with pooled(answering(large, large)) as (server, pool):
        for _ in range(2):
            connection = await pool.post("chat", b"{}", silence=5)
            await asyncio.sleep(0.1)
            connection.complete = True
            pool.release(connection)

        assert server.connections == 2


async def test_silence_ends_a_request_and_slow_reading_does_not() -> None:
    """Time counts from the server's last byte, and only while somebody waits for it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK + b"Content-Length: 1000000\r\n\r\n" + b"x" * 999_999)
        await asyncio.sleep(30)

    async with pooled(script) as (_, pool):
        connection = await pool.post("chat", b"{}", silence=0.2)
        await asyncio.sleep(0.5)
        with pytest.raises(TimeoutError):
            await connection.read()
        pool.release(connection)


async def test_a_large_answer_comes_whole() -> None:
    """More than may lie unread arrives all the same."""
    large = bytes(range(256)) * 20_000
    answer = OK + b"Content-Length: %d\r\n\r\n" % len(large) + large
    async with pooled(answering(answer)) as (_, pool):
        connection = await pool.post("chat", b"{}", silence=5)
        await asyncio.sleep(0.1)

        assert await connection.read() == large
        pool.release(connection)
