"""Responses: an answer as one ``response``, or as the events of one; nothing of it is kept."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import generates
from openkimi.api.responses_convert import ask_of, refuse_stateful
from openkimi.api.responses_events import StreamEvent
from openkimi.api.responses_input import Conversation
from openkimi.api.responses_object import answered, begun
from openkimi.api.responses_request import ResponsesRequest
from openkimi.api.responses_schemas import ResponseObject
from openkimi.api.responses_terms import handle_in_own_terms
from openkimi.api.responses_writer import ResponseWriter
from openkimi.errors import RequestError, UpstreamError

_OPERATION = generates(ResponsesRequest, ResponseObject, events=StreamEvent)


def responses_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``POST /v1/responses``."""

    @post(
        "/v1/responses",
        status_code=200,
        operation_class=_OPERATION,
        exception_handlers={RequestError: handle_in_own_terms, UpstreamError: handle_in_own_terms},
    )
    async def create_response(request: Request[Any, Any, Any]) -> Response[Any]:
        """Answer a conversation whose items may be longer than the model's window."""
        body = await gateway.read(request, ResponsesRequest)
        refuse_stateful(body)
        conversation = Conversation.of(body)
        ask, response = ask_of(body, conversation), begun(body, body.model or gateway.engine.model_name)
        if body.stream:
            return await gateway.stream(request, ask, ResponseWriter(response, conversation))
        answer = await gateway.answer(request, ask)
        if answer.receipt is not None:
            response = msgspec.structs.replace(response, openkimi=conversation.receipt(answer.receipt))
        return json_response(answered(response, answer))

    return [create_response]
