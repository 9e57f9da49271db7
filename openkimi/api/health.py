"""Tells whether the gateway is up, and whether it can answer."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, head
from litestar.handlers import HTTPRouteHandler

import openkimi
from openkimi.api import schemas as wire
from openkimi.api.json_response import json_response
from openkimi.api.loading import refuse_while_loading
from openkimi.api.openapi import probes


def health_routes() -> list[HTTPRouteHandler]:
    """Return ``/health`` with its two kinds: alive, and ready to answer."""

    @get(["/health", "/health/ready"], operation_class=probes(wire.Health))
    async def health(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Tell that the gateway can answer, and which version it is; 503 while the model loads."""
        refuse_while_loading(request)
        return json_response(wire.Health(status="ok", version=openkimi.__version__))

    @head(["/health", "/health/ready"], operation_class=probes())
    async def health_head(request: Request[Any, Any, Any]) -> None:
        """Tell the same to those who only look at the status."""
        refuse_while_loading(request)

    @get("/health/live", operation_class=probes(wire.Health))
    async def health_live() -> Response[bytes]:
        """Tell that the process is alive, also while the model loads."""
        return json_response(wire.Health(status="ok", version=openkimi.__version__))

    @head("/health/live", operation_class=probes())
    async def health_live_head() -> None:
        """Tell the same to those who only look at the status."""

    return [health, health_head, health_live, health_live_head]
