"""Reads and decodes request bodies without holding up the event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from openkimi.api.connection import ClientLeft
from openkimi.api.content_encoding import TooLarge, encoding_of, inflate
from openkimi.api.deadline import TimeLimit
from openkimi.api.fields import field_error
from openkimi.api.media_type import refuse_other_types
from openkimi.errors import RequestError

T = TypeVar("T")

READ_SECONDS = 30.0
"""How long the next part of a body may take to arrive."""

_LARGE = 1_000_000
_BOM = b"\xef\xbb\xbf"
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(rb"(?<!\\)((?:\\\\)*)(?:%b(?!%b)|(?<!%b)%b)" % (_HIGH, _LOW, _HIGH, _LOW))


async def read_json(request: Request[Any, Any, Any], kind: type[T], *, limit: int) -> T:
    """Read a JSON body of at most ``limit`` bytes into a Struct; it may be compressed.

    Raises:
        HTTPException: 413 for a body that is too large, 415 for one that is no JSON by its headers, 408
            for one that does not arrive.
        RequestError: it is not JSON, or a field is wrong; ``param`` names it.
    """
    headers = headers_of(request)
    refuse_other_types(headers)
    return await decode_json(await read_body(request, headers, limit=limit), kind)


async def read_body(request: Request[Any, Any, Any], headers: Mapping[str, str], *, limit: int) -> bytes:
    """Read a body of at most ``limit`` bytes, also when it is inflated.

    Raises:
        HTTPException: 413 for a body that is too large, 415 for one that is compressed in a way that is not
            served, 408 for one that does not arrive.
        RequestError: it is damaged.
    """
    compressed = encoding_of(headers)
    body = await _read(request, headers, limit)
    if not compressed:
        return body
    try:
        return await inflate(body, limit)
    except TooLarge as error:
        raise _too_large(limit) from error


async def decode_json(body: bytes, kind: type[T]) -> T:
    """Decode a JSON body into a Struct.

    Raises:
        RequestError: it is not JSON, or a field is wrong; ``param`` names it.
    """
    if len(body) > _LARGE:
        return await asyncio.to_thread(_decode, body, kind)
    return _decode(body, kind)


def headers_of(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the headers, the first of those that came twice; the framework's own take ten times as long."""
    sent = [*request.scope["headers"]]
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(sent)}


def _decode(body: bytes, kind: type[T]) -> T:
    if not body:
        raise RequestError("the body is empty: send a JSON object", code="invalid_json")
    try:
        return _lenient(body, kind)
    except msgspec.ValidationError as error:
        raise field_error(error, kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not JSON in UTF-8: {error}", code="invalid_json") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply", code="invalid_json") from error


def _lenient(body: bytes, kind: type[T]) -> T:
    """Decode JSON; halves of surrogate pairs, which clients leave where they cut an emoji, become U+FFFD."""
    body = body.removeprefix(_BOM)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _HALF.sub(rb"\1\\ufffd", body) if len(body) <= _LARGE else body
        if mended == body:
            raise
        return msgspec.json.decode(mended, type=kind)


async def _read(request: Request[Any, Any, Any], headers: Mapping[str, str], limit: int) -> bytes:
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        part, more = await _next_part(request)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


async def _next_part(request: Request[Any, Any, Any]) -> tuple[bytes, bool]:
    try:
        with TimeLimit(READ_SECONDS):
            message = await request.receive()
    except TimeoutError as error:
        raise HTTPException(
            detail=f"nothing more of the body came within {READ_SECONDS:g} s: send it again, and all of it",
            status_code=408,
            headers={"Connection": "close"},
        ) from error
    if message["type"] != "http.request":
        raise ClientLeft("the client left before its request was complete")
    return message["body"], message.get("more_body", False)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        detail=f"the body is larger than {limit} bytes, the limit set by server.max_body_size",
        status_code=413,
    )
