"""The plugins: what was found, what it offers, and why one failed."""

from __future__ import annotations

from typing import Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import tells
from openkimi.plugins import PluginReport


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin; ``kinds`` lists what it offers by role, ``reason`` says why it failed and what to do."""

    id: str
    object: Literal["plugin"] = "plugin"
    module: str
    distribution: str | None = None
    version: str | None = None
    state: Literal["loaded", "failed", "blocked"]
    reason: str | None = None
    hooks: list[str] = []
    kinds: dict[str, list[str]] = {}
    commands: list[str] = []


class PluginList(msgspec.Struct, frozen=True, kw_only=True):
    """The plugins of the gateway, in the order in which they were loaded."""

    object: Literal["list"] = "list"
    data: list[Plugin]


def plugin_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``GET /v1/plugins``."""

    @get("/v1/plugins", operation_class=tells(PluginList))
    async def list_plugins() -> Response[bytes]:
        """List the plugins that were found, what each offers, and why one failed."""
        reports = gateway.engine.config.plugins.reports
        return json_response(PluginList(data=[_plugin(report) for report in reports]))

    return [list_plugins]


def _plugin(report: PluginReport) -> Plugin:
    return Plugin(
        id=report.name,
        module=report.module,
        distribution=report.distribution,
        version=report.version,
        state=report.state,
        reason=report.reason,
        hooks=report.hooks,
        kinds={str(role): kinds for role, kinds in report.kinds.items()},
        commands=report.commands,
    )
