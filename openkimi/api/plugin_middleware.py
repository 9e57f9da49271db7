"""What plugins put around the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from openkimi.api.errors import handle
from openkimi.errors import PluginError
from openkimi.extensions import Extensions

log = structlog.get_logger()

Middleware = Callable[[ASGIApp], ASGIApp]


def plugin_middleware(extensions: Extensions) -> Middleware:
    """Return one middleware for those of all plugins, by the plugins' names, the first outermost.

    Raises:
        PluginError: a plugin's hook fails.
    """
    found: list[tuple[str, Middleware]] = []
    for hook in list(extensions.hooks("register_middleware")):
        try:
            found += [(hook.report.name, _checked(each)) for each in extensions.call(hook) or ()]
        except Exception as error:  # noqa: BLE001 - what a stranger's hook raises is its own
            extensions.fail(hook, error)

    def around(app: ASGIApp) -> ASGIApp:
        for name, middleware in reversed(found):
            app = _held(name, middleware, app)
        return app

    return around


def _checked(offered: object) -> Middleware:
    if not callable(offered):
        kind = type(offered).__name__
        raise PluginError(f"must return functions that take an ASGI application, not {kind}")
    return offered


def _held(name: str, middleware: Middleware, app: ASGIApp) -> ASGIApp:
    """Put a plugin's middleware around an application, so that what it raises has its name and an answer."""
    failed_inside = f"openkimi_failed_inside_{name}"

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            scope["state"][failed_inside] = error
            raise

    wrapped: Any = middleware(inside)
    if not callable(wrapped):
        raise PluginError(f"the plugin {name}: register_middleware: a middleware returned no application")

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await wrapped(scope, receive, watched)
        except Exception as error:
            if scope["state"].get(failed_inside) is error:
                raise
            log.error("plugin_failed", plugin=name, reason=type(error).__name__)
            if started or scope["type"] != ScopeType.HTTP:
                raise
            request: Request[Any, Any, Any] = Request(scope, receive, send)
            await handle(request, error).to_asgi_response(app=None, request=request)(scope, receive, send)

    return held
