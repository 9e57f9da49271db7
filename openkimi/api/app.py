"""The gateway as an ASGI application."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar

import openkimi
from openkimi.api.errors import handle
from openkimi.api.openapi_document import DocumentConfig
from openkimi.api.request_id import RequestIdMiddleware
from openkimi.api.routers import create_chat_router, create_health_router
from openkimi.engine import KimiEngine

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
    """
    engine = config if isinstance(config, KimiEngine) else KimiEngine(config, plugins=plugins)
    return Litestar(
        route_handlers=[create_chat_router(engine), create_health_router()],
        lifespan=[lifespan or engine.lifespan],
        middleware=[RequestIdMiddleware()],
        exception_handlers={Exception: handle},
        logging_config=None,
        openapi_config=DocumentConfig(
            title="OpenKimi",
            version=openkimi.__version__,
            keyed=lambda: bool(engine.config.server.api_keys),
        ),
    )
