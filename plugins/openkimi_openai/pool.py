"""Connections to one server that are kept for the next request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from openkimi_openai.connection import Connection

_IDLE_SECONDS = 15.0
_SET_HERE = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class ConnectTimeout(TimeoutError):
    """No connection came about in time."""


class Pool:
    """Posts to paths below one base URL; ``connect_timeout`` in seconds."""

    def __init__(self, url: str, headers: Mapping[str, str], *, connect_timeout: float) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host = _ascii(parts.hostname or "")
        self._port = parts.port or (443 if secure else 80)
        self._ssl = ssl.create_default_context() if secure else None
        self._path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
        self._head = _head(_ascii(parts.netloc), headers)
        self._connect_timeout = connect_timeout
        self._idle: list[Connection] = []

    async def post(self, path: str, body: bytes, *, silence: float) -> Connection:
        """Send a body and return the connection once the answer's head is there.

        A kept connection that the server has closed meanwhile is replaced by a new one.

        Raises:
            ConnectTimeout: no connection came about.
            TimeoutError: the server sent nothing for ``silence`` seconds.
            OSError: the connection failed.
        """
        line = f"POST {self._path}/{path} HTTP/1.1\r\n"
        request = b"%s%sContent-Length: %d\r\n\r\n%s" % (line.encode(), self._head, len(body), body)
        if (kept := self._kept()) is not None:
            try:
                return await _asked(kept, request, silence)
            except ConnectionError:
                if not kept.untouched:
                    raise
        return await _asked(await self._connect(), request, silence)

    def release(self, connection: Connection) -> None:
        """Keep a connection for the next request where its answer is complete, or close it."""
        if not connection.usable:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def close(self) -> None:
        """Close all that are kept."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> Connection | None:
        """Take the connection that was used last, and close those that nobody used for long."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle and (self._idle[0].lost or self._idle[0].idle_since < oldest):
            self._idle.pop(0).close()
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                return connection
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, made = await loop.create_connection(Connection, self._host, self._port, ssl=self._ssl)
        except TimeoutError as error:
            raise ConnectTimeout from error
        return made


async def _asked(connection: Connection, request: bytes, silence: float) -> Connection:
    try:
        await connection.ask(request, silence=silence)
    except BaseException:
        connection.close()
        raise
    return connection


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode()


def _head(host: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"Host: {headers.get('host', host)}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in _SET_HERE]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
