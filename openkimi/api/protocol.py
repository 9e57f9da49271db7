"""HTTP/1.1 as the gateway speaks it: uvicorn's protocol, with limits to what strangers may hold open.

A head may be so long and take so long, and who stops reading an answer is cut off. A wish to speak another
protocol is ignored, as RFC 9110 (7.8) allows: Java's client wishes for HTTP/2 in every request.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from openkimi.api.joining import Joined
from openkimi.api.schemas import ErrorBody, ErrorDetail

log = structlog.get_logger()

HEAD_SECONDS = 30.0
"""How long the head of a request may take, from its first byte or from the connection's begin."""

STALL_SECONDS = 60.0
"""How long a client may take nothing of what is being sent to it."""

_LONGEST_HEAD = 65_536
_WISHES = {b"upgrade", b"http2-settings"}


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = False
    _head_size = 0
    _running: Any = None
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the transport; called by the event loop, as are the methods that follow."""
        super().connection_made(cast("asyncio.Transport", Joined(transport, patience=STALL_SECONDS)))
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Read bytes."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as wish:
            self._read_anew(data[wish.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "this is no HTTP/1.1 request", "invalid_http")
        else:
            self._note(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; uvicorn tells only the last of several in a row."""
        self._head_came()
        self.resume_writing()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def pause_writing(self) -> None:
        """Wait for a client that reads slowly."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def cut_off(self) -> None:
        """End the connection if something is left to send that its client does not take."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        """Leave a request with a wish alone till it is read anew."""
        return True

    def _read_anew(self, rest: bytes) -> None:
        """Read a request again as if it had wished for nothing."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(405, "CONNECT is not served: this is no proxy", "method_not_allowed")
            return
        head = [b"%s %s HTTP/%s\r\n" % (method, self.url, self.parser.get_http_version().encode())]
        head += [b"%s: %s\r\n" % header for header in _without_wishes(self.headers)]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _note(self, size: int) -> None:
        """Look where in a request the bytes ended."""
        cycle, was_in_head = self.cycle, self._in_head
        self._in_head = self.scope is not None and (cycle is None or cycle.scope is not self.scope)
        if self._in_head:
            self._head_size = self._head_size + size if was_in_head else 0
            self._wait_for_head()
            if self._head_size > _LONGEST_HEAD:
                message = f"the head of the request is larger than {_LONGEST_HEAD} bytes"
                self._refuse(431, message, "headers_too_large")
        elif cycle is not None and cycle.response_complete:
            self._wait_for_head()  # the rest of a body that nobody reads
        elif cycle is not None:
            self._head_came()

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if self._in_head:
            message = f"the head of the request did not arrive within {HEAD_SECONDS:g} s"
            self._refuse(408, message, "request_timeout")
        else:
            self.transport.close()

    def _watch(self, unsent: int) -> None:
        self._stalled = self.loop.call_later(STALL_SECONDS, self._look, unsent)

    def _look(self, unsent: int) -> None:
        """Cut off a client that took nothing since the last look: it holds the model up."""
        left = self.transport.get_write_buffer_size()
        if left >= unsent:
            self.transport.abort()
        else:
            self._watch(left)

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer what is no request, and close; an answer under way before it is still sent."""
        running = self._running
        if running is not None and not (running.response_complete or running.more_body):
            running.keep_alive = False
            self.pipeline.clear()
            return
        log.info("request_refused", status=status, code=code)
        detail = ErrorDetail(message=message, type="invalid_request_error", code=code)
        body = msgspec.json.encode(ErrorBody(error=detail))
        if running is None or running.response_complete or not running.response_started:
            self.transport.write(_head(status, len(body)) + body)
        self.transport.close()


def _without_wishes(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name not in _WISHES]
    return [(name, _but_wishes(value) if name == b"connection" else value) for name, value in kept]


def _but_wishes(connection: bytes) -> bytes:
    tokens = (token.strip() for token in connection.split(b","))
    return b", ".join(token for token in tokens if token.lower() not in _WISHES)


def _head(status: int, length: int) -> bytes:
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % length
    return STATUS_LINE[status] + lines
