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
    async def health(request: Request[Any, Any, Any]) -> Response[Any]:
        """Tell that the gateway can answer, and which version it is; 503 while the model loads."""
        refuse_while_loading(request)
        return _ok()

    @head(["/health", "/health/ready"], operation_class=probes())
    async def health_head(request: Request[Any, Any, Any]) -> Response[None]:
        """Tell the same to those who only look at the status."""
        refuse_while_loading(request)
        return _ok()

    @get("/health/live", operation_class=probes(wire.Health))
    async def health_live() -> Response[Any]:
        """Tell that the process is alive, also while the model loads."""
        return _ok()

    @head("/health/live", operation_class=probes())
    async def health_live_head() -> Response[None]:
        """Tell the same to those who only look at the status."""
        return _ok()

    return [health, health_head, health_live, health_live_head]


def _ok() -> Response[Any]:
    """Say what a GET is sent; the server leaves the body out of the answer to a HEAD."""
    return json_response(wire.Health(status="ok", version=openkimi.__version__))
