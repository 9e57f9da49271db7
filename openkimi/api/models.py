"""The models: one answers, whatever name a request gives."""

from __future__ import annotations

import time
from pathlib import PurePath

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from openkimi.api import schemas as wire
from openkimi.api.gateway import Gateway, json_response

_STARTED = int(time.time())


def model_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``GET /v1/models`` and ``GET /v1/models/{id}``."""

    @get("/v1/models")
    async def list_models() -> Response[bytes]:
        """List the one model that answers, whatever name a request gives."""
        return json_response(
            wire.ModelList(data=[wire.Model(id=gateway.engine.model_name, created=_STARTED)])
        )

    @get("/v1/models/{model_id:path}")
    async def get_model(model_id: FromPath[PurePath]) -> Response[bytes]:
        """Describe a model: every name is accepted, as in requests."""
        return json_response(wire.Model(id=str(model_id).removeprefix("/"), created=_STARTED))

    return [list_models, get_model]
