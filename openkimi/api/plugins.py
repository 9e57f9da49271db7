"""The plugins: what was found, what each offers, and why one is not in use."""

from __future__ import annotations

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.loading import WHILE_LOADING
from openkimi.api.openapi import tells
from openkimi.api.plugins_schemas import PluginList, PluginObject


def plugins_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``GET /v1/plugins``."""

    @get("/v1/plugins", operation_class=tells(PluginList), opt=WHILE_LOADING)
    async def list_plugins() -> Response[bytes]:
        """List the plugins with what they offer, and why one is not in use; also while the model loads."""
        reports = gateway.engine.config.plugins.reports
        return json_response(PluginList(data=[PluginObject.of(report) for report in reports]))

    return [list_plugins]
