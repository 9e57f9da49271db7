"""Gives every request an id: in its log lines and in the header ``X-Request-Id``."""

from __future__ import annotations

import asyncio
import random
import re
import time
from functools import partial

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from openkimi.api.limits import limit_headers

log = structlog.get_logger()

_ACCEPTED = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
_STATE = "openkimi_request_id"


class RequestIdMiddleware:
    """Takes the caller's ``X-Request-Id`` or makes one, and logs the request when it is answered.

    It does nothing within another one.
    """

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Stand before an application."""

        async def identify(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP or _STATE in scope["state"]:
                await app(scope, receive, send)
                return
            request_id = scope["state"][_STATE] = _request_id(scope)
            started, status = time.monotonic(), 0

            async def send_with_id(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    own = ((b"x-request-id", request_id.encode()), *limit_headers(scope["state"]))
                    message["headers"] = [*message["headers"], *own]
                await send(message)

            bound = structlog.contextvars.bind_contextvars(request_id=request_id)
            try:
                await app(scope, receive, send_with_id)
            finally:
                seconds = round(time.monotonic() - started, 3)
                line = partial(log.info, "request", path=scope["path"], status=status, seconds=seconds)
                asyncio.get_running_loop().call_soon(line)  # after the answer, which waits for the turn's end
                structlog.contextvars.reset_contextvars(**bound)

        return identify


def missing_request_id(scope: Scope) -> dict[str, str]:
    """Return the header for an answer that no middleware saw, such as a 404 without a route."""
    return {} if _STATE in scope["state"] else {"X-Request-Id": _request_id(scope)}


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTED.fullmatch(value):
            return value.decode()
    return f"req_{random.getrandbits(96):024x}"
