"""Serves the metrics."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client.exposition import choose_encoder

from openkimi import PUBLIC
from openkimi_metrics.metrics import Metrics


def metrics_route(metrics: Metrics) -> HTTPRouteHandler:
    """Return the route that Prometheus asks."""

    @get("/", opt=PUBLIC)
    async def read_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Tell the metrics in the format of Prometheus, or in that of OpenMetrics where it is asked for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=media_type)

    return read_metrics
