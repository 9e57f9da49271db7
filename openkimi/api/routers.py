"""The routes of the gateway, as routers that can be mounted in any Litestar application."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, head, post
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath

import openkimi
from openkimi.api import schemas as wire
from openkimi.api.auth import check_key
from openkimi.api.body import read_json
from openkimi.api.completion import Header, completion_of
from openkimi.api.connection import EventStreamResponse, while_connected
from openkimi.api.convert import ask_of
from openkimi.api.errors import handle
from openkimi.api.request_id import RequestIdMiddleware
from openkimi.api.sse import EventStream
from openkimi.engine import KimiEngine

_STARTED = int(time.time())


def create_chat_router(engine: KimiEngine) -> Router:
    """Return OpenAI's chat and model routes over an engine, to mount beside routes of one's own.

    The engine opens on the first request, or with the application when ``engine.lifespan`` is among its
    ``lifespan``. The router answers errors in OpenAI's shape and takes bodies up to ``max_body_size``.
    """

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        check_key(connection, engine.config.server.api_keys)

    @post("/v1/chat/completions", status_code=200)
    async def create_chat_completion(request: Request[Any, Any, Any]) -> Response[Any]:
        """Answer a conversation whose messages may be longer than the model's window."""
        limit = engine.config.server.max_body_bytes
        body = await read_json(request, wire.ChatCompletionRequest, limit=limit)
        ask, header = ask_of(body), Header.new(body.model or engine.model_name)
        if not body.stream:
            completion = completion_of(engine.answer(ask), header, ask.n)
            return _json(await while_connected(request, completion))
        usage = bool(body.stream_options and body.stream_options.include_usage)
        events = EventStream(engine.answer(ask), header, n=ask.n, include_usage=usage)
        await while_connected(request, events.start())
        return EventStreamResponse(events)

    @get("/v1/models")
    async def list_models() -> Response[bytes]:
        """List the one model that answers, whatever name a request gives."""
        return _json(wire.ModelList(data=[wire.Model(id=engine.model_name, created=_STARTED)]))

    @get("/v1/models/{model_id:path}")
    async def get_model(model_id: FromPath[PurePath]) -> Response[bytes]:
        """Describe a model: every name is accepted, as in requests."""
        return _json(wire.Model(id=str(model_id).removeprefix("/"), created=_STARTED))

    @get("/v1/documents")
    async def list_documents() -> Response[bytes]:
        """List the stored documents; the state is ``ready`` once all vectors are there."""
        documents = [wire.StoredDocument.of(info) for info in await engine.documents()]
        return _json(wire.DocumentList(data=documents))

    return Router(
        path="/",
        route_handlers=[create_chat_completion, list_models, get_model, list_documents],
        guards=[guard],
        exception_handlers={Exception: handle},
        middleware=[RequestIdMiddleware()],
        request_max_body_size=None,
        tags=["OpenAI"],
    )


def create_health_router() -> Router:
    """Return the route that tells whether the gateway is up."""

    @get("/health")
    async def health() -> Response[bytes]:
        """Tell that the gateway serves, and which version it is."""
        return _json(wire.Health(status="ok", version=openkimi.__version__))

    @head("/health")
    async def health_head() -> None:
        """Tell the same to those who only look at the status."""

    return Router(
        path="/",
        route_handlers=[health, health_head],
        exception_handlers={Exception: handle},
        tags=["Health"],
    )


def _json(body: msgspec.Struct) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type="application/json", status_code=200)
