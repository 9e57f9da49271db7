"""What the routes that answer have in common: who asks, how long it may take, and when the client leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response

from openkimi.api.auth import KeyRing, caller_of
from openkimi.api.body import headers_of, read_body, read_json
from openkimi.api.connection import Connected, EventStreamResponse
from openkimi.api.deadline import Deadline
from openkimi.api.limits import Limits
from openkimi.api.sse import EventStream, Writer
from openkimi.api.uploads import refuse_types
from openkimi.engine import KimiEngine
from openkimi.gathering import Answer
from openkimi.messages import Delta
from openkimi.pipeline import Event
from openkimi.progress import Progress
from openkimi.turn import Ask

T = TypeVar("T")

HttpRequest = Request[Any, Any, Any]


class Gateway:
    """An engine as the routes see it."""

    def __init__(self, engine: KimiEngine) -> None:
        self.engine = engine
        self.keys = KeyRing(engine)
        self.limits = Limits(engine)

    async def read(self, request: HttpRequest, kind: type[T]) -> T:
        """Read the JSON body of a request.

        Raises:
            HTTPException: 413 for a body that is too large.
            RequestError: it is not JSON, or a field is wrong.
        """
        return await read_json(request, kind, limit=self._most_bytes)

    async def read_upload(self, request: HttpRequest) -> tuple[Mapping[str, str], bytes]:
        """Read the headers and the body of a request that has a document or a file.

        Raises:
            HTTPException: 413 for a body that is too large, 415 for one whose type is not read.
        """
        headers = headers_of(request)
        refuse_types(headers, self.engine.config.server.cors_origins)
        return headers, await read_body(request, headers, limit=self._most_bytes)

    async def answer(self, request: HttpRequest, ask: Ask) -> Answer:
        """Answer at once, for as long as the client stays and the deadline allows."""
        ask = msgspec.structs.replace(
            ask,
            request=msgspec.structs.replace(ask.request, stream=False),
            tenant=caller_of(request).tenant,
        )
        return await self.gather(request, self.engine.answer(ask), Answer(ask.n))

    async def stream(self, request: HttpRequest, ask: Ask, writer: Writer) -> Response[Any]:
        """Answer as server-sent events; what fails before they start is raised."""
        return await self.stream_events(request, self.engine.answer(self.of_caller(request, ask)), writer)

    async def gather(
        self,
        request: HttpRequest,
        events: AsyncGenerator[Event, None],
        answer: Answer,
    ) -> Answer:
        """Gather events into an answer, for as long as the client stays and the deadline allows."""
        events = self.limits.metered(request, events)
        with Connected(request.receive), self._deadline() as deadline:
            async with aclosing(events):
                async for event in events:
                    deadline.began = deadline.began or _is_of_model(event)
                    answer.add(event)
        return answer

    async def stream_events(
        self,
        request: HttpRequest,
        events: AsyncGenerator[Event, None],
        writer: Writer,
    ) -> Response[Any]:
        """Write events as server-sent ones; what fails before they start is raised."""
        events = self.limits.metered(request, events)
        return EventStreamResponse(EventStream(events, writer, deadline=self._deadline()))

    async def run(self, request: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
        """Do work that has no events, for as long as the client stays and the deadline allows."""
        with Connected(request.receive), self._deadline():
            return await work

    def of_caller(self, request: HttpRequest, ask: Ask) -> Ask:
        """Ask in the name of who sent the request."""
        return msgspec.structs.replace(ask, tenant=caller_of(request).tenant)

    @cached_property
    def _most_bytes(self) -> int:
        return self.engine.config.server.max_body_bytes

    def _deadline(self) -> Deadline:
        return Deadline(self.engine.config.server.request_timeout)


def _is_of_model(event: Event) -> bool:
    """Tell whether the model has begun to work on an answer."""
    return isinstance(event, Delta) or (isinstance(event, Progress) and event.by_model)
