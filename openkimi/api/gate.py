"""Lets requests in to the routes of a router, or answers in their place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from openkimi.api.auth import Connection
from openkimi.api.errors import handle


class Gate:
    """A middleware that calls ``admit``, which raises what a caller is told who may not come in.

    Litestar's guards do the same, at the price of a copy of the route for each request.
    """

    def __init__(self, admit: Callable[[Connection], Awaitable[None]]) -> None:
        self._admit = admit

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Stand before an application."""

        async def gate(scope: Scope, receive: Receive, send: Send) -> None:
            request: Request[Any, Any, Any] = Request(scope, receive, send)
            try:
                await self._admit(request)
            except Exception as error:  # noqa: BLE001 - each is answered as the routes answer theirs
                refusal = handle(request, error).to_asgi_response(app=None, request=request)
                await refusal(scope, receive, send)
            else:
                await app(scope, receive, send)

        return gate
