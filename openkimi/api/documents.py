"""The stored documents."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from openkimi.api import schemas as wire
from openkimi.api.auth import caller_of
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import tells


def document_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``GET /v1/documents``."""

    @get("/v1/documents", operation_class=tells(wire.DocumentList))
    async def list_documents(request: Request[Any, Any, Any]) -> Response[bytes]:
        """List the caller's documents; the state is ``ready`` once all vectors are there."""
        infos = await gateway.engine.documents(caller_of(request).tenant)
        return json_response(wire.DocumentList(data=[wire.StoredDocument.of(info) for info in infos]))

    return [list_documents]
