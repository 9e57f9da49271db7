"""Who may connect: addresses, host names, and the proxies that are believed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import structlog
from litestar.config.cors import CORSConfig
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from openkimi.access import Network, networks, plain_address
from openkimi.api.schemas import ErrorBody, ErrorDetail
from openkimi.sections import ServerSection

log = structlog.get_logger()

_EXPOSED = ("limit", "remaining", "reset")
_PROBES = "/health"


class Doorway:
    """Turns away who may not connect, before anything else sees the request; covers every response."""

    def __init__(self, app: ASGIApp, server: ServerSection) -> None:
        self._app = app
        self._allowed = networks(server.allowed_ips, where="server.allowed_ips")
        self._hosts = tuple(host.lower().strip("[]") for host in server.allowed_hosts)
        self._admits = lru_cache(maxsize=4096)(self._admits_address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403 for its address, 400 for its host name."""
        if scope["type"] != ScopeType.HTTP:
            await send({"type": "websocket.close", "code": 1008, "reason": "not served"})
            return
        client = scope["client"]
        address = client[0] if client else ""
        if self._allowed and not self._admits(address):
            log.info("address_refused", address=address)
            await _refuse(send, 403, "this address may not use the gateway", "address_not_allowed")
        elif self._hosts and not self._answers_to(scope):
            message = "the gateway does not answer to this host name: server.allowed_hosts does not name it"
            await _refuse(send, 400, message, "host_not_allowed")
        else:
            await self._app(scope, receive, send)

    def _admits_address(self, text: str) -> bool:
        address = plain_address(text)
        return address is not None and any(address in network for network in self._allowed)

    def _answers_to(self, scope: Scope) -> bool:
        """Look at the Host header; probes call by an address that no list can know."""
        if scope["path"].startswith(_PROBES):
            return True
        sent = [value for name, value in scope["headers"] if name == b"host"]
        if len(sent) != 1:
            return False
        return any(_matches(_host_name(sent[0].decode("latin-1")), allowed) for allowed in self._hosts)


class Proxied:
    """Takes the caller's address and scheme from proxies that are trusted, and from nobody else."""

    def __init__(self, app: ASGIApp, trusted: tuple[Network, ...]) -> None:
        app_of_uvicorn: Any = app
        self._app: Any = ProxyHeadersMiddleware(app_of_uvicorn, [str(network) for network in trusted])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on in the name of who sent it to the proxy."""
        if client := scope["client"]:
            scope["client"] = (str(plain_address(client[0]) or client[0]), client[1])
        await self._app(scope, receive, send)


def guarded(app: ASGIApp, server: ServerSection) -> ASGIApp:
    """Put the checks that the section asks for around an application."""
    if server.allowed_ips or server.allowed_hosts:
        app = Doorway(app, server)
    return app


def proxied(app: ASGIApp, server: ServerSection) -> ASGIApp:
    """Believe the proxies that the section names."""
    if not server.trusted_proxies:
        return app
    return Proxied(app, networks(server.trusted_proxies, where="server.trusted_proxies"))


def cors_config(server: ServerSection) -> CORSConfig | None:
    """Let web pages of other origins in, where the section names some; they show keys, not cookies."""
    if not server.cors_origins:
        return None
    limits = [f"x-ratelimit-{word}-{unit}" for word in _EXPOSED for unit in ("requests", "tokens")]
    return CORSConfig(
        allow_origins=list(server.cors_origins),
        expose_headers=["x-request-id", "retry-after", *limits],
    )


def _matches(host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:]) and len(host) > len(allowed) - 1
    return host == allowed


def _host_name(header: str) -> str:
    """Return a Host header without its port, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


async def _refuse(send: Send, status: int, message: str, code: str) -> None:
    kind = "permission_error" if status == 403 else "invalid_request_error"
    body = msgspec.json.encode(ErrorBody(error=ErrorDetail(message=message, type=kind, code=code)))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
