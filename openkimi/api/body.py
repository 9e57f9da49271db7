"""Reads and decodes request bodies without holding up the event loop."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException

from openkimi.errors import RequestError

T = TypeVar("T")

_LARGE = 1_000_000
_PATH = re.compile(r" - at `(?:key in )?\$\.?(?P<path>.*)`$")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")


async def read_json(request: Request[Any, Any, Any], kind: type[T], *, limit: int) -> T:
    """Read a JSON body of at most ``limit`` bytes into a Struct.

    Raises:
        HTTPException: 413 for a body that is too large.
        RequestError: it is not JSON, or a field is wrong; ``param`` names it.
    """
    body = await _read(request, limit)
    try:
        if len(body) > _LARGE:
            return await asyncio.to_thread(msgspec.json.decode, body, type=kind)
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {error}", code="invalid_json") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply", code="invalid_json") from error


async def _read(request: Request[Any, Any, Any], limit: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except HTTPException as error:
        if error.status_code == 500:
            raise ClientException("the client left before its request was complete") from error
        raise
    return b"".join(parts)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        detail=f"the body is larger than {limit} bytes, the limit set by server.max_body_size",
        status_code=413,
    )


def _field_error(text: str) -> RequestError:
    match = _PATH.search(text)
    path = match["path"] if match else ""
    reason = (text[: match.start()] if match else text).replace("`", "'")
    if missing := _MISSING.search(text):
        path = f"{path}.{missing['name']}".lstrip(".")
        return RequestError(f"'{path}' is required", param=path, code="missing_required_parameter")
    return RequestError(f"'{path or 'body'}': {reason}", param=path or None, code="invalid_value")
