"""Token counts, as the configured model counts: of texts, or of the prompt that messages make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from openkimi.api import tokenize_schemas as wire
from openkimi.api.convert import ask_of
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import generates
from openkimi.api.schemas import ChatCompletionRequest
from openkimi.engine import KimiEngine
from openkimi.errors import RequestError


def tokenize_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``POST /v1/tokenize``."""

    @post(
        "/v1/tokenize",
        status_code=200,
        operation_class=generates(wire.TokenizeRequest, wire.TokenCountList),
    )
    async def tokenize(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Count the tokens of texts, or of messages with the model's template and tools around them."""
        body = await gateway.read(request, wire.TokenizeRequest)
        counts = await gateway.run(request, _count(gateway.engine, body))
        answer = wire.TokenCountList(
            data=[wire.TokenCount(index=index, tokens=tokens) for index, tokens in enumerate(counts)],
            model=body.model or gateway.engine.model_name,
            total_tokens=sum(counts),
            context_window=await gateway.engine.context_window(),
        )
        return json_response(answer)

    return [tokenize]


async def _count(engine: KimiEngine, body: wire.TokenizeRequest) -> Sequence[int]:
    if body.input is not None and body.messages is not None:
        raise RequestError(
            "'input' and 'messages' cannot be counted at once: send one of them", param="input"
        )
    if body.messages:
        chat = ChatCompletionRequest(messages=body.messages, tools=body.tools)
        return [await engine.count_prompt(ask_of(chat).request)]
    if body.messages is not None:
        raise RequestError("'messages' is an empty list", param="messages", code="invalid_value")
    if body.input is None:
        raise RequestError(
            "'input' is required, or 'messages'", param="input", code="missing_required_parameter"
        )
    return await engine.count_tokens([body.input] if isinstance(body.input, str) else body.input)
