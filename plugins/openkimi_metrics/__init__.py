"""Metrics for Prometheus at ``/plugins/metrics``, with nothing of a caller's text and no key in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from openkimi import AppContext, PluginError, hookimpl

if TYPE_CHECKING:
    from openkimi_metrics.metrics import Metrics

_PACKAGE = "prometheus_client"


class MetricsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``plugins.options.metrics`` may hold."""

    enabled: Annotated[
        bool, msgspec.Meta(description="Count requests, and serve the counts at /plugins/metrics.")
    ] = False


@hookimpl
def register_options() -> type[MetricsOptions]:
    """Take options."""
    return MetricsOptions


@hookimpl
def register_routes(app: AppContext) -> Iterable[Any]:
    """Serve the metrics."""
    if not app.options.enabled:
        return []
    from openkimi_metrics.route import metrics_route

    return [metrics_route(_metrics(app))]


@hookimpl
def register_middleware(app: AppContext) -> Iterable[Callable[[Any], Any]]:
    """Count requests by their route, and time them."""
    if not app.options.enabled:
        return []
    from openkimi_metrics.counting import counting

    return [counting(_metrics(app))]


@hookimpl
@asynccontextmanager
async def lifespan(app: AppContext) -> AsyncIterator[None]:
    """Watch how late the event loop is while the application serves."""
    if not app.options.enabled:
        yield
        return
    from openkimi_metrics.lateness import watching

    metrics = _metrics(app)
    with metrics.following(app.engine):
        async with watching(metrics):
            yield


def _metrics(app: AppContext) -> Metrics:
    """Return the metrics of an application, those of the one before it at a reload, or else new ones.

    Raises:
        PluginError: the client of Prometheus is not installed; says how to install it.
    """
    if find_spec(_PACKAGE) is None:
        raise PluginError("plugins.options.metrics needs a package: pip install 'openkimi[metrics]'")
    from openkimi_metrics.metrics import Metrics

    if "metrics" not in app.state:
        before = app.previous.state.get("metrics") if app.previous else None
        app.state["metrics"] = before or Metrics(app.engine)
    found: Metrics = app.state["metrics"]
    return found
