"""Counts requests from around the application."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from openkimi_metrics.metrics import Metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_LEFT = 499


def counting(metrics: Metrics) -> Callable[[Any], Any]:
    """Return a middleware that counts.

    What it tells apart is bounded: the methods that HTTP has, the routes that there are, and the statuses.
    """

    def around(app: Any) -> Any:
        async def counted(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status, first = time.perf_counter(), 0, 0.0

            async def watched(message: Any) -> None:
                nonlocal status, first
                if message["type"] == "http.response.start":
                    status = message["status"]
                elif not first:
                    first = time.perf_counter()
                await send(message)

            metrics.in_progress.inc()
            try:
                await app(scope, receive, watched)
            finally:
                metrics.in_progress.dec()
                method, route = _method(scope), _route(scope)
                metrics.requests.labels(method, route, str(status or _CLIENT_LEFT)).inc()
                metrics.durations.labels(method, route).observe(time.perf_counter() - began)
                if first:
                    metrics.first_bytes.labels(method, route).observe(first - began)

        return counted

    return around


def _method(scope: Any) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Any) -> str:
    """Name the route, never the address: that can hold an id, or anything that a stranger makes up."""
    return scope.get("path_template") or "none"
