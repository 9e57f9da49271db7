"""The models: one answers, whatever name a request gives."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import Annotated

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import PathParameter

from openkimi.api import schemas as wire
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import tells

_STARTED = int(time.time())

ModelId = Annotated[PurePath, PathParameter(schema_extra={"type": OpenAPIType.STRING, "min_length": 1})]


def model_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``GET /v1/models`` and ``GET /v1/models/{id}``."""

    @get("/v1/models", operation_class=tells(wire.ModelList))
    async def list_models() -> Response[bytes]:
        """List the one model that answers, whatever name a request gives."""
        return json_response(
            wire.ModelList(data=[wire.Model(id=gateway.engine.model_name, created=_STARTED)])
        )

    @get("/v1/models/{model_id:path}", operation_class=tells(wire.Model))
    async def retrieve_model(model_id: ModelId) -> Response[bytes]:
        """Describe a model of any name, slashes included: requests may name every one."""
        return json_response(wire.Model(id=str(model_id).removeprefix("/"), created=_STARTED))

    return [list_models, retrieve_model]
