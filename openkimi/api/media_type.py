"""What a request body claims to be: JSON by any name that clients give it, except where a browser asks."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from functools import lru_cache

from litestar.exceptions import HTTPException

_TAKEN_FOR_JSON = {
    "",
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "text/json",
    "text/plain",
}
_CHARSETS = {"", "utf-8", "utf8", "us-ascii", "ascii"}


def refuse_other_types(headers: Mapping[str, str]) -> None:
    """Let a body pass that is JSON or has a type that clients send by default, as ``curl -d`` does.

    A page in a browser may send those types to any address without asking first. So a request with
    ``Origin`` has to name JSON, which makes the browser ask for permission (CORS).

    Raises:
        HTTPException: 415, the type is another one.
    """
    kind, charset = _parse(headers.get("content-type", ""))
    if not (_is_json(kind) or (kind in _TAKEN_FOR_JSON and "origin" not in headers)):
        raise _refused(f"a body of the type '{kind[:100]}' is not read here")
    if charset not in _CHARSETS:
        raise _refused(f"a body in the charset '{charset[:100]}' is not read here")


@lru_cache(maxsize=64)
def _parse(header: str) -> tuple[str, str]:
    """Return type and charset, each empty where it is not named."""
    if not header.strip():
        return "", ""
    parsed = Message()
    parsed["Content-Type"] = header
    return parsed.get_content_type(), str(parsed.get_param("charset", "") or "").lower()


def _is_json(kind: str) -> bool:
    return kind in {"application/json", "text/json"} or kind.endswith("+json")


def _refused(what: str) -> HTTPException:
    return HTTPException(
        detail=f"{what}: send JSON in UTF-8 with the header 'Content-Type: application/json'", status_code=415
    )
