"""The routes of the gateway, as routers that can be mounted in any Litestar application."""

from __future__ import annotations

from litestar import Router
from litestar.handlers.base import BaseRouteHandler

from openkimi.api.allowed_methods import options_routes
from openkimi.api.auth import Connection
from openkimi.api.chat import chat_routes
from openkimi.api.completions import completion_routes
from openkimi.api.documents import document_routes
from openkimi.api.embeddings import embedding_routes
from openkimi.api.errors import answer_unlogged, handle
from openkimi.api.explain import explain_routes
from openkimi.api.gate import Gate
from openkimi.api.gateway import Gateway
from openkimi.api.health import health_routes
from openkimi.api.loading import refuse_while_loading
from openkimi.api.models import model_routes
from openkimi.api.plugin_middleware import plugin_middleware
from openkimi.api.plugin_routes import plugin_routers
from openkimi.api.plugins import plugins_routes
from openkimi.api.request_id import RequestIdMiddleware
from openkimi.api.responses import responses_routes
from openkimi.api.tokenize import tokenize_routes
from openkimi.engine import KimiEngine
from openkimi.errors import BackendUnavailable


def create_chat_router(engine: KimiEngine) -> Router:
    """Return the routes under ``/v1`` and those of plugins, to mount beside routes of one's own.

    The engine opens on the first request, or with the application when ``engine.lifespan`` is among its
    ``lifespan``. The router answers errors in OpenAI's shape and takes bodies up to ``max_body_size``. What
    plugins put around the gateway stands around these routes.

    Raises:
        ConfigError: something in the config is wrong.
    """
    gateway = Gateway(engine)
    return Router(
        path="/",
        route_handlers=[chat_router(gateway), *plugin_routers(gateway)],
        middleware=[RequestIdMiddleware(), plugin_middleware(engine.extensions)],
        request_max_body_size=None,
    )


def chat_router(gateway: Gateway) -> Router:
    """Return the routes under ``/v1`` over a gateway, whose keys and limits they heed."""

    async def admit(connection: Connection) -> None:
        gateway.keys.authenticate(connection)
        refuse_while_loading(connection)
        await gateway.limits.admit(connection)

    handlers = [
        *chat_routes(gateway),
        *completion_routes(gateway),
        *embedding_routes(gateway),
        *tokenize_routes(gateway),
        *responses_routes(gateway),
        *model_routes(gateway),
        *document_routes(gateway),
        *explain_routes(gateway),
        *plugins_routes(gateway),
    ]
    return Router(
        path="/",
        route_handlers=[*options_routes(handlers), *handlers],  # the first OPTIONS counts
        exception_handlers={Exception: handle},
        middleware=[RequestIdMiddleware(), Gate(admit)],
        request_max_body_size=None,
        tags=["OpenAI"],
    )


def schema_router(gateway: Gateway) -> Router:
    """Return the address of the OpenAPI document and its page, which want a key where others do."""

    def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        gateway.keys.authenticate(connection)

    return Router(path="/schema", route_handlers=[], guards=[guard], include_in_schema=False)


def create_health_router() -> Router:
    """Return the routes that tell whether the gateway is up; they need no key."""
    return Router(
        path="/",
        route_handlers=health_routes(),
        exception_handlers={Exception: handle, BackendUnavailable: answer_unlogged},
        tags=["Health"],
    )
