"""The routes of plugins: each plugin's under an address of its own, behind the gateway's keys and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from litestar import Controller, Litestar, Router
from litestar.handlers.base import BaseRouteHandler
from litestar.routes import ASGIRoute, BaseRoute, HTTPRoute, WebSocketRoute

from openkimi.api.auth import Connection, let_pass
from openkimi.api.errors import handle
from openkimi.api.gate import Gate
from openkimi.api.gateway import Gateway
from openkimi.api.request_id import RequestIdMiddleware
from openkimi.errors import BackendUnavailable, PluginError
from openkimi.hookspecs import IS_PUBLIC
from openkimi.plugins import PluginReport


def plugin_routers(gateway: Gateway) -> list[Router]:
    """Return a router for each plugin that has routes; one that fails at it is left out.

    Raises:
        PluginError: the gateway must not be without the plugin.
    """
    extensions, routers = gateway.engine.extensions, []
    for hook in list(extensions.hooks("register_routes")):
        try:
            handlers = [_checked(each) for each in extensions.call(hook) or ()]
            router = _router(gateway, hook.report, handlers)
            tried = _try(router)
            hook.report.routes[:] = _addresses(router.path, handlers)
            marked = hook.report.public if _is_allowed(gateway, hook.report) else hook.report.asks_public
            marked[:] = _public(tried)
        except Exception as error:  # noqa: BLE001 - what a stranger's hook raises is its own
            extensions.fail(hook, error)
        else:
            routers.append(router)
    return routers


def _router(gateway: Gateway, report: PluginReport, handlers: Iterable[Any]) -> Router:
    may_be_public = _is_allowed(gateway, report)

    async def admit(connection: Connection) -> None:
        if may_be_public and _is_public(connection.scope["route_handler"]):
            let_pass(connection)
        else:
            gateway.keys.authenticate(connection)
        if report.state == "failed":
            raise BackendUnavailable(f"the plugin {report.name} failed; GET /v1/plugins says why")
        await gateway.limits.admit(connection)

    return Router(
        path=f"/plugins/{report.name}",
        route_handlers=list(handlers),
        exception_handlers={Exception: handle},
        middleware=[RequestIdMiddleware(), Gate(admit)],
        tags=[f"Plugin {report.name}"],
    )


def _is_allowed(gateway: Gateway, report: PluginReport) -> bool:
    """Tell whether the config lets a plugin have public routes: what is installed must not do so itself."""
    return report.name in gateway.engine.config.plugin_section.public


def _is_public(handler: BaseRouteHandler) -> bool:
    return bool(handler.opt.get(IS_PUBLIC))


def _checked(offered: object) -> Any:
    is_controller = isinstance(offered, type) and issubclass(offered, Controller)
    if not (is_controller or isinstance(offered, BaseRouteHandler | Router)):
        kind = type(offered).__name__
        raise PluginError(f"must return handlers, controllers or routers of Litestar, not {kind}")
    return offered


def _try(router: Router) -> Litestar:
    """Mount a router for a try: what Litestar has against it would keep the whole gateway from starting.

    Raises:
        ImproperlyConfiguredException: says what.
    """
    return Litestar(route_handlers=[router], openapi_config=None, logging_config=None)


def _addresses(path: str, handlers: Iterable[Any]) -> list[str]:
    """List the methods and addresses of handlers under a path.

    Raises:
        PluginError: two are for the same, of which Litestar would take the second without a word.
    """
    routers = [Router(path=path, route_handlers=[handler]) for handler in handlers]
    addresses = [address for router in routers for route in router.routes for address, _ in _handled(route)]
    if twice := next((address for address in addresses if addresses.count(address) > 1), None):
        raise PluginError(f"two handlers are for {twice}")
    return _listed(addresses)


def _public(tried: Litestar) -> list[str]:
    """List the methods and addresses that are marked as public, by themselves or by what they stand in."""
    handled = [each for route in tried.routes for each in _handled(route)]
    return _listed(address for address, handler in handled if _is_public(handler))


def _listed(addresses: Iterable[str]) -> list[str]:
    return sorted(address for address in addresses if not address.startswith("HEAD "))


def _handled(route: BaseRoute) -> Iterator[tuple[str, BaseRouteHandler]]:
    if isinstance(route, ASGIRoute | WebSocketRoute):
        yield f"ANY {route.path}", route.route_handler
    if isinstance(route, HTTPRoute):
        for handler in route.route_handlers:
            for method in handler.http_methods:
                if method != "OPTIONS":  # Litestar adds handlers of its own for it
                    yield f"{method} {route.path}", handler
