"""API keys: off by default, compared in constant time, never shown."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException

from openkimi.secrets import Secret


def check_key(connection: ASGIConnection, keys: Sequence[Secret]) -> None:  # type: ignore[type-arg]
    """Let a connection pass that shows one of the keys, or every one where there are none.

    Raises:
        NotAuthorizedException: it shows none or a wrong one.
    """
    if not keys:
        return
    shown = connection.headers.get("x-api-key") or _bearer(connection.headers.get("authorization", ""))
    if not shown:
        raise NotAuthorizedException("an API key is needed: send 'Authorization: Bearer <key>'")
    sent = shown.encode("latin-1", "replace")  # the bytes as they came: headers are decoded as Latin-1
    matches = [hmac.compare_digest(_digest(sent), _digest(key.reveal().encode())) for key in keys]
    if not any(matches):
        raise NotAuthorizedException("this API key is not known here")


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
