"""The routes of plugins: each plugin's under an address of its own, behind the gateway's keys and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from litestar import Controller, Litestar, Router
from litestar.handlers.base import BaseRouteHandler
from litestar.routes import BaseRoute, HTTPRoute

from openkimi.api.auth import Connection
from openkimi.api.errors import handle
from openkimi.api.gate import Gate
from openkimi.api.gateway import Gateway
from openkimi.api.request_id import RequestIdMiddleware
from openkimi.errors import BackendUnavailable, PluginError
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
            _try(router)
            hook.report.routes[:] = _addresses(router.path, handlers)
        except Exception as error:  # noqa: BLE001 - what a stranger's hook raises is its own
            extensions.fail(hook, error)
        else:
            routers.append(router)
    return routers


def _router(gateway: Gateway, report: PluginReport, handlers: Iterable[Any]) -> Router:
    async def admit(connection: Connection) -> None:
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


def _checked(offered: object) -> Any:
    is_controller = isinstance(offered, type) and issubclass(offered, Controller)
    if not (is_controller or isinstance(offered, BaseRouteHandler | Router)):
        kind = type(offered).__name__
        raise PluginError(f"must return handlers, controllers or routers of Litestar, not {kind}")
    return offered


def _try(router: Router) -> None:
    """Mount a router for a try: what Litestar has against it would keep the whole gateway from starting.

    Raises:
        ImproperlyConfiguredException: says what.
    """
    Litestar(route_handlers=[router], openapi_config=None, logging_config=None)


def _addresses(path: str, handlers: Iterable[Any]) -> list[str]:
    """List the methods and addresses of handlers under a path.

    Raises:
        PluginError: two are for the same, of which Litestar would take the second without a word.
    """
    routers = [Router(path=path, route_handlers=[handler]) for handler in handlers]
    addresses = [address for router in routers for route in router.routes for address in _addresses_of(route)]
    if twice := next((address for address in addresses if addresses.count(address) > 1), None):
        raise PluginError(f"two handlers are for {twice}")
    return sorted(address for address in addresses if not address.startswith("HEAD "))


def _addresses_of(route: BaseRoute) -> Iterator[str]:
    if not isinstance(route, HTTPRoute):
        yield f"ANY {route.path}"
        return
    for handler in route.route_handlers:
        for method in handler.http_methods:
            if method != "OPTIONS":  # Litestar adds handlers of its own for it
                yield f"{method} {route.path}"
