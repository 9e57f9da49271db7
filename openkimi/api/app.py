"""The gateway as an ASGI application."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar

import openkimi
from openkimi.api.errors import handle
from openkimi.api.gateway import Gateway
from openkimi.api.network import cors_config, guarded, proxied
from openkimi.api.openapi_document import DocumentConfig
from openkimi.api.plugin_middleware import plugin_middleware
from openkimi.api.plugin_routes import plugin_routers
from openkimi.api.request_id import RequestIdMiddleware
from openkimi.api.routers import chat_router, create_health_router, schema_router
from openkimi.engine import KimiEngine
from openkimi.trimming import Trimming

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_app(
    config: str | os.PathLike[str] | KimiEngine | None = None,
    *,
    plugins: Iterable[object] = (),
    lifespan: Lifespan | None = None,
) -> Litestar:
    """Make the gateway from a config file, or around an engine of one's own.

    It opens the engine when it starts and closes it when it stops, or does what ``lifespan`` does instead.
    ``plugins`` are modules or objects with hooks, beside the installed ones.

    Raises:
        ConfigError: something in the config is wrong.
    """
    engine = config if isinstance(config, KimiEngine) else KimiEngine(config, plugins=plugins)
    return app_of(Gateway(engine), lifespan=lifespan)


def app_of(gateway: Gateway, *, lifespan: Lifespan | None = None) -> Litestar:
    """Make the application of a gateway, as :func:`create_app` does."""
    engine, server = gateway.engine, gateway.engine.config.server
    gateway.keys.read()
    app = Litestar(
        route_handlers=[chat_router(gateway), *plugin_routers(gateway), create_health_router()],
        lifespan=[lifespan or engine.lifespan, gateway.limits.lifespan, Trimming(engine).lifespan],
        cors_config=cors_config(server),
        exception_handlers={Exception: handle},
        logging_config=None,
        openapi_config=DocumentConfig(
            title="OpenKimi",
            version=openkimi.__version__,
            keyed=lambda: server.needs_key,
            openapi_router=schema_router(gateway),
        ),
    )
    # Litestar's own middleware does not see what it answers before a route is found, such as a 404.
    handler = plugin_middleware(engine.extensions)(app.asgi_handler)
    app.asgi_handler = proxied(RequestIdMiddleware()(guarded(handler, server)), server)
    return app
