"""API keys: off by default, compared in constant time, never shown."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException

from openkimi.documents import ANONYMOUS
from openkimi.sections import ServerSection

_STATE = "openkimi_caller"

Connection = ASGIConnection[Any, Any, Any, Any]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a request: its ``tenant`` is the name of its key."""

    tenant: str = ANONYMOUS


def authenticate(connection: Connection, server: ServerSection) -> None:
    """Let a connection pass that shows one of the keys, or every one where there are none.

    Raises:
        NotAuthorizedException: it shows none or a wrong one.
    """
    if not server.api_keys:
        return
    shown = connection.headers.get("x-api-key") or _bearer(connection.headers.get("authorization", ""))
    if not shown:
        raise NotAuthorizedException("an API key is needed: send 'Authorization: Bearer <key>'")
    sent = shown.encode("latin-1", "replace")  # the bytes as they came: headers are decoded as Latin-1
    matches = [
        key for key in server.api_keys if hmac.compare_digest(_digest(sent), _digest(key.reveal().encode()))
    ]
    if not matches:
        raise NotAuthorizedException("this API key is not known here")
    connection.scope["state"][_STATE] = Caller(tenant=f"key-{_digest(sent).hex()[:12]}")


def caller_of(connection: Connection) -> Caller:
    """Return who sent a request that :func:`authenticate` let pass."""
    caller = connection.scope["state"].get(_STATE)
    return caller if isinstance(caller, Caller) else Caller()


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
