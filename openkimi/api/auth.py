"""API keys: off by default, compared in constant time, never shown."""

from __future__ import annotations

import hmac
from functools import cached_property
from typing import Any

import msgspec
import structlog
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException

from openkimi.api_keys import ApiKey, RateLimit, digest_of
from openkimi.documents import ANONYMOUS
from openkimi.engine import KimiEngine
from openkimi.key_file import KeyFile

log = structlog.get_logger()

_STATE = "openkimi_caller"
_TENANT = "openkimi_tenant"
"""Where the routes of plugins find whose request it is."""

Connection = ASGIConnection[Any, Any, Any, Any]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a request: its ``tenant`` is the name of its key.

    ``rate_limit`` is what its key has of its own, None where the server's holds.
    """

    tenant: str = ANONYMOUS
    rate_limit: RateLimit | None = None


_ANYONE = Caller()


class KeyRing:
    """The keys of an engine's config; their file is read by :meth:`read`, or when the first request comes."""

    def __init__(self, engine: KimiEngine) -> None:
        self._engine = engine

    def read(self) -> None:
        """Read the key file, whose keys stay good from here on though it is gone or wrong later.

        Raises:
            ConfigError: it cannot be read, or an entry is wrong.
        """
        _ = self._file

    def authenticate(self, connection: Connection) -> None:
        """Let a connection pass that shows one of the keys, or every one where none is needed.

        Raises:
            NotAuthorizedException: it shows none or a wrong one.
        """
        if not self._engine.config.server.needs_key:
            let_pass(connection)
            return
        shown = connection.headers.get("x-api-key") or _bearer(connection.headers.get("authorization", ""))
        if not shown:
            raise _refusal("an API key is needed: send 'Authorization: Bearer <key>'")
        key = self._find(shown.encode("latin-1", "replace"))  # the bytes as they came: headers are Latin-1
        if key is None:
            raise _refusal("this API key is not known here")
        connection.scope["state"][_STATE] = Caller(tenant=key.name, rate_limit=key.rate_limit)
        connection.scope["state"][_TENANT] = key.name

    def _find(self, sent: bytes) -> ApiKey | None:
        """Compare with every key, so that the time taken tells nothing of which one it is."""
        digest, found = digest_of(sent), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    @property
    def _keys(self) -> tuple[ApiKey, ...]:
        return self._file.keys() if self._file else self._engine.config.server.api_keys

    @cached_property
    def _file(self) -> KeyFile | None:
        server = self._engine.config.server
        return KeyFile(server.api_keys_file, server.api_keys) if server.api_keys_file is not None else None


def let_pass(connection: Connection) -> None:
    """Let a connection pass as nobody's, whatever key it shows."""
    connection.scope["state"][_TENANT] = ANONYMOUS


def caller_of(connection: Connection) -> Caller:
    """Return who sent a request that :meth:`KeyRing.authenticate` or :func:`let_pass` let pass."""
    caller = connection.scope["state"].get(_STATE)
    return caller if isinstance(caller, Caller) else _ANYONE


def _refusal(message: str) -> NotAuthorizedException:
    return NotAuthorizedException(message, headers={"WWW-Authenticate": "Bearer"})


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
