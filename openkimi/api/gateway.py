"""What the routes that answer have in common: who asks, how long it may take, and when the client leaves."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response

from openkimi.api.auth import caller_of
from openkimi.api.body import read_json
from openkimi.api.connection import EventStreamResponse, while_connected
from openkimi.api.deadline import Deadline
from openkimi.api.sse import EventStream, Writer
from openkimi.engine import KimiEngine
from openkimi.gathering import Answer
from openkimi.messages import Delta
from openkimi.turn import Ask

T = TypeVar("T")

HttpRequest = Request[Any, Any, Any]


class Gateway:
    """An engine as the routes see it."""

    def __init__(self, engine: KimiEngine) -> None:
        self.engine = engine

    async def read(self, request: HttpRequest, kind: type[T]) -> T:
        """Read the JSON body of a request.

        Raises:
            HTTPException: 413 for a body that is too large.
            RequestError: it is not JSON, or a field is wrong.
        """
        return await read_json(request, kind, limit=self.engine.config.server.max_body_bytes)

    async def answer(self, request: HttpRequest, ask: Ask) -> Answer:
        """Answer at once, for as long as the client stays and the deadline allows."""
        return await while_connected(request, self._gather(self._of_caller(request, ask)))

    async def stream(self, request: HttpRequest, ask: Ask, writer: Writer) -> Response[Any]:
        """Answer as server-sent events; what fails before they start is raised."""
        events = EventStream(
            self.engine.answer(self._of_caller(request, ask)),
            writer,
            deadline=Deadline(self.engine.config.server.request_timeout),
        )
        await while_connected(request, events.start())
        return EventStreamResponse(events)

    async def _gather(self, ask: Ask) -> Answer:
        answer = Answer(ask.n)
        deadline = Deadline(self.engine.config.server.request_timeout)
        async with deadline, aclosing(self.engine.answer(ask)) as events:
            async for event in events:
                deadline.began = deadline.began or isinstance(event, Delta)
                answer.add(event)
        return answer

    def _of_caller(self, request: HttpRequest, ask: Ask) -> Ask:
        return msgspec.structs.replace(ask, tenant=caller_of(request).tenant)


def json_response(body: msgspec.Struct) -> Response[bytes]:
    """Answer with a Struct as JSON."""
    return Response(msgspec.json.encode(body), media_type="application/json", status_code=200)
