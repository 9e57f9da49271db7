"""The trace of a request: how its prompt comes about, told without asking the model."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET

from openkimi.api import explain_schemas as wire
from openkimi.api.convert import ask_of, tool_call_of
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import generates
from openkimi.api.schemas import ImageUrl
from openkimi.explanation import Explanation, PathTrace
from openkimi.messages import Message, Part, TextPart

_DEFAULT_LIMIT = 100


def explain_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``POST /v1/openkimi/explain``."""

    @post(
        "/v1/openkimi/explain",
        status_code=200,
        operation_class=generates(wire.ExplainRequest, wire.ExplanationObject),
    )
    async def explain_chat_completion(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Tell how the prompt of a chat completion comes about, without asking the model."""
        body = await gateway.read(request, wire.ExplainRequest)
        limit = body.openkimi.limit if body.openkimi else None
        ask = gateway.of_caller(request, ask_of(body))
        work = gateway.engine.explain(ask, limit=_DEFAULT_LIMIT if limit is None else limit)
        explanation = await gateway.run(request, work)
        return json_response(_explained(explanation, body.model or gateway.engine.model_name))

    return [explain_chat_completion]


def _explained(explanation: Explanation, model: str) -> wire.ExplanationObject:
    return wire.ExplanationObject(
        model=model,
        compressed=explanation.receipt.compressed,
        reason=explanation.reason,
        question=explanation.question,
        budget=explanation.budget,
        documents=list(explanation.documents),
        found=explanation.found,
        hits=list(explanation.hits),
        paths=[_path(path) for path in explanation.paths],
        receipt=explanation.receipt,
    )


def _path(path: PathTrace) -> wire.ExplainedPath:
    return wire.ExplainedPath(
        prompt_tokens=path.prompt_tokens,
        context_tokens=path.context_tokens,
        max_tokens=path.request.max_tokens or 0,
        messages=[_message(message) for message in path.request.messages],
        order=list(path.order),
    )


def _message(message: Message) -> wire.PromptMessage:
    content = message.content
    return wire.PromptMessage(
        role=message.role,
        content=content if isinstance(content, str) else [_part(part) for part in content],
        name=message.name or UNSET,
        tool_calls=[tool_call_of(call) for call in message.tool_calls] or UNSET,
        tool_call_id=message.tool_call_id or UNSET,
    )


def _part(part: Part) -> wire.PromptPart:
    if isinstance(part, TextPart):
        return wire.PromptPart(type="text", text=part.text)
    return wire.PromptPart(type="image_url", image_url=ImageUrl(url=part.url, detail=part.detail))
