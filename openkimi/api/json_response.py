"""Answers with JSON that is encoded already."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

_ADDED = ("background", "cookies", "encoded_headers", "headers", "is_head_response")
"""What an application around the router, or a route, can add to a response."""


def json_response(body: msgspec.Struct) -> Response[bytes]:
    """Answer with a Struct as JSON."""
    return JsonResponse(msgspec.json.encode(body), media_type="application/json", status_code=200)


class JsonResponse(Response[bytes]):
    """A status 200 with bytes of JSON, which is sent as it is where nobody adds anything."""

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **options: Any) -> ASGIResponse:
        """Make what is sent."""
        if self.headers or self.cookies or self.background or any(map(options.get, _ADDED)):
            return super().to_asgi_response(app, request, **options)
        return cast("ASGIResponse", _Bytes(self.content))


class _Bytes:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = str(len(self._body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
