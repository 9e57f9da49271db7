"""One connection to a server that speaks HTTP/1.1, and the answer that is being read from it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

_MOST_AHEAD = 262_144
"""Bytes that may lie here unread before the server has to wait."""

_LONGEST_HEAD = 1_048_576
"""Bytes that may come before an answer's body."""


class Broken(ConnectionError):
    """The server ended the connection while it owed an answer, or sent what is no HTTP."""


class Connection(asyncio.Protocol):
    """Sends one request after another and reads the answer of each, piece by piece.

    ``status`` and ``headers`` (names in lower case) are there once :meth:`ask` returns, ``complete`` tells
    whether the whole answer is here, ``usable`` whether another request may follow it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser: HttpResponseParser | None = None
        self.lost = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = self.untouched = self._head = False
        self._pieces: deque[bytes] = deque()
        self._size = self._head_size = 0
        self._paused = self._keep_alive = False
        self._error: Exception | None = None

    @property
    def usable(self) -> bool:
        """Whether the answer is complete and the server keeps the connection open."""
        return (
            self.complete and self._keep_alive and not self._paused and not self.lost and self._error is None
        )

    async def ask(self, request: bytes, *, silence: float) -> None:
        """Send a request and wait for the head of its answer.

        Raises:
            TimeoutError: nothing came for ``silence`` seconds; so do the methods that read on.
            Broken: the connection broke; ``untouched`` tells whether nothing of an answer had come.
        """
        self._reset()
        self.untouched = True
        self._parser = HttpResponseParser(self)
        self._silence, self._heard = silence, self._loop.time()
        if self._timer is None or silence < self._watched:
            self._watch(silence)
        self._transport.write(request)
        while not self._head:
            await self._more()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        while piece := await self.piece():
            yield piece

    async def piece(self) -> bytes:
        """Return what has come of the body since the last call, waiting for some; nothing at its end."""
        while not self._pieces and not self.complete:
            await self._more()
        if self._paused and not self.lost:
            self._paused, self._heard = False, self._loop.time()
            self._transport.resume_reading()
        piece = b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]
        self._pieces.clear()
        self._size = 0
        return piece

    async def read(self, limit: int | None = None) -> bytes:
        """Return the whole body, or what there is of it once ``limit`` bytes have come."""
        body = bytearray()
        while (limit is None or len(body) < limit) and (piece := await self.piece()):
            body += piece
        return bytes(body)

    def close(self) -> None:
        """End the connection at once."""
        self.lost = True
        self._rest()
        self._transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        if self.lost:
            raise Broken("the server closed the connection")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _watch(self, seconds: float) -> None:
        """Look after that time whether the server is silent; one timer serves many requests in a row."""
        self._rest()
        self._watched = seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        heard = self._loop.time() if self._pieces else self._heard
        left = heard + self._silence - self._loop.time()
        if self.complete:
            return
        if left > 0.001:
            self._watch(left)
        else:
            self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; called by the event loop, as are the three below."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read bytes."""
        if self._parser is None or self.complete:
            self.close()
            return
        self.untouched, self._heard = False, self._loop.time()
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(Broken("the server wants to speak another protocol, unasked"))
        except HttpParserError as error:
            self._fail(Broken(f"the server sent what is no HTTP answer: {error}"))
        if not self._head:
            self._head_size += len(data)
            if self._head_size > _LONGEST_HEAD:
                self._fail(Broken("the server sent headers without end"))
        if self._size > _MOST_AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Close when the server does."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end, which is also the answer's where no length was given."""
        self.lost = True
        is_sized = bool({"content-length", "transfer-encoding"} & self.headers.keys())
        if self._head and error is None and not is_sized:
            self.complete = True
        self._rest()
        self._fail(error or Broken("the server closed the connection"))

    def on_message_begin(self) -> None:
        """Trust no connection on which another answer begins unasked; the parser calls this and all below."""
        if self.complete:
            raise Broken("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note the status; 100 to 199 are no answer yet."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self._head = self.status >= 200

    def on_body(self, body: bytes) -> None:
        """Keep a piece until it is read."""
        self._pieces.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if not self._head:
            self.headers.clear()
            return
        assert self._parser is not None
        self.complete = True
        self._keep_alive = self._parser.should_keep_alive()
