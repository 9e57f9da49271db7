"""Work that ends when the client leaves, in a stream and out of one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

from litestar import Request, Response
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.datastructures import Cookie
from litestar.exceptions import ClientException
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from openkimi.api.deadline import Interruption
from openkimi.api.sse import EventStream

_SOON = 0.05
"""Seconds within which most answers of a fast server come: listening costs more than these save."""


class ClientLeft(ClientException):
    """The client left: nobody reads the answer, and the log has the status that nginx made known for it."""

    status_code = 499
    code = "client_left"


class Connected:
    """Cancels the work inside a ``with`` when the client leaves; the body must have been read.

    Raises:
        ClientLeft: the client left; the work has ended.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._leaving = Interruption()
        self._later = asyncio.get_running_loop().call_later(_SOON, self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._later.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._leaving.ended(kind):
            raise ClientLeft("the client left before the answer was complete") from error

    def _begin(self) -> None:
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leaving.happen()


class EventStreamResponse(Response[Any]):
    """Sends an event stream and closes it for sure, however the connection ends."""

    def __init__(self, events: EventStream) -> None:
        super().__init__(None, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._events = events

    def to_asgi_response(
        self,
        app: Any,
        request: Request[Any, Any, Any],
        *,
        background: BackgroundTask | BackgroundTasks | None = None,
        cookies: Iterable[Cookie] | None = None,
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,
        media_type: Any = None,
        status_code: int | None = None,
        type_encoders: Any = None,
    ) -> ASGIResponse:
        """Make the response that runs."""
        return _Sending(
            self._events,
            background=background,
            cookies=cookies,
            encoded_headers=encoded_headers,
            headers={**(headers or {}), **self.headers, "X-Accel-Buffering": "no"},
            is_head_response=is_head_response,
            media_type="text/event-stream",
            status_code=200,
        )


class _Sending(ASGIResponse):
    __slots__ = ("events",)

    _should_set_content_length = False

    def __init__(self, events: EventStream, **options: Any) -> None:
        super().__init__(**options)
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        with suppress(ClientLeft), Connected(receive):  # who has left needs no answer
            await self.events.run(lambda: self.start_response(send), write)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        await self.after_response()
