"""Compressed request bodies, inflated no further than a body may be large."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from litestar.exceptions import HTTPException

from openkimi.errors import RequestError

_SERVED = {"gzip", "x-gzip", "deflate"}
_ANY_HEADER = zlib.MAX_WBITS | 32


class TooLarge(Exception):
    """The inflated body is larger than the limit."""


def encoding_of(headers: Mapping[str, str]) -> str:
    """Return how a body is compressed, an empty string where it is not.

    Raises:
        HTTPException: 415, in a way that is not served; the header ``Accept-Encoding`` names those that are.
    """
    named = headers.get("content-encoding", "").strip().lower()
    if named in {"", "identity"}:
        return ""
    if named not in _SERVED:
        raise HTTPException(
            detail=f"a body with 'Content-Encoding: {named[:100]}' is not read here: send gzip or deflate",
            status_code=415,
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    return named


async def inflate(body: bytes, limit: int) -> bytes:
    """Inflate a body (gzip or zlib, by its own header) in a thread.

    Raises:
        TooLarge: it is larger than ``limit`` bytes; no more than that was inflated.
        RequestError: it is damaged or cut short.
    """
    try:
        return await asyncio.to_thread(_inflate, body, limit)
    except zlib.error as error:
        raise _damaged("it is not what 'Content-Encoding' says, or it is damaged") from error


def _inflate(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(_ANY_HEADER)
    inflated = inflater.decompress(body, limit + 1)
    if len(inflated) > limit:
        raise TooLarge
    if not inflater.eof:
        raise _damaged("it is cut short")
    if inflater.unused_data:
        raise _damaged("something follows it")
    return inflated


def _damaged(reason: str) -> RequestError:
    return RequestError(f"the compressed body cannot be read: {reason}", code="invalid_content_encoding")
