"""What a request body claims to be: JSON by any name that clients give it, except where a browser asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.message import Message
from functools import lru_cache

import msgspec
from litestar.exceptions import HTTPException

_TAKEN_FOR_JSON = {
    "",
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "text/json",
    "text/plain",
}
_UNASKED = {"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
"""What a page in a browser may send anywhere without asking first (the Fetch standard's safelist)."""
_CHARSETS = {"", "utf-8", "utf8", "us-ascii", "ascii"}


class MediaType(msgspec.Struct, frozen=True, kw_only=True):
    """A header ``Content-Type``; what it does not name is empty."""

    kind: str = ""
    charset: str = ""
    boundary: str = ""


def refuse_other_types(headers: Mapping[str, str]) -> None:
    """Let a body pass that is JSON or has a type that clients send by default, as ``curl -d`` does.

    A page in a browser may send those types to any address without asking first. So a request with
    ``Origin`` has to name JSON, which makes the browser ask for permission (CORS).

    Raises:
        HTTPException: 415, the type is another one.
    """
    sent = media_type_of(headers.get("content-type", ""))
    if not (is_json(sent.kind) or (sent.kind in _TAKEN_FOR_JSON and "origin" not in headers)):
        raise _refused(f"a body of the type '{sent.kind[:100]}' is not read here")
    refuse_charset(sent)


def refuse_charset(sent: MediaType) -> None:
    """Let JSON pass that is in UTF-8.

    Raises:
        HTTPException: 415, it says that it is in another charset.
    """
    if sent.charset not in _CHARSETS:
        raise _refused(f"a body in the charset '{sent.charset[:100]}' is not read here")


def refuse_unasked(headers: Mapping[str, str], kind: str, origins: Sequence[str]) -> None:
    """Let a type pass that a page in a browser may send without asking, if the page is one of ours.

    Raises:
        HTTPException: 415, the page is of another origin that none of ``origins`` names.
    """
    origin = headers.get("origin")
    if origin is None or kind not in _UNASKED or "*" in origins or origin in origins:
        return
    if origin.partition("://")[2] != headers.get("host"):
        raise HTTPException(
            detail=f"a page of another origin may not send the type '{kind}': send JSON, or have the page's "
            "origin named in server.cors_origins",
            status_code=415,
        )


@lru_cache(maxsize=64)
def media_type_of(header: str) -> MediaType:
    """Take a header ``Content-Type`` apart."""
    if not header.strip():
        return MediaType()
    parsed = Message()
    parsed["Content-Type"] = header
    charset, boundary = (str(parsed.get_param(name, "") or "") for name in ("charset", "boundary"))
    return MediaType(kind=parsed.get_content_type(), charset=charset.lower(), boundary=boundary)


def is_json(kind: str) -> bool:
    """Tell whether a type names JSON."""
    return kind in {"application/json", "text/json"} or kind.endswith("+json")


def _refused(what: str) -> HTTPException:
    return HTTPException(
        detail=f"{what}: send JSON in UTF-8 with the header 'Content-Type: application/json'", status_code=415
    )
