"""From a request for a response to what the engine is asked."""

from __future__ import annotations

from msgspec import UNSET

from openkimi.api.convert import ask_for
from openkimi.api.responses_input import Conversation
from openkimi.api.responses_request import ResponsesRequest, TextFormat
from openkimi.api.responses_tools import tools_of
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import GenerateRequest, ResponseFormat
from openkimi.turn import Ask

_LOGPROBS = "message.output_text.logprobs"
_STATEFUL = {
    "previous_response_id": "nothing is kept here: send the whole conversation in 'input'",
    "conversation": "nothing is kept here: send the whole conversation in 'input'",
    "prompt": "there are no stored prompts here: send 'instructions' and 'input'",
    "background": "nothing is kept here: leave it out, and send 'stream' to see the answer as it comes",
}


def refuse_stateful(body: ResponsesRequest) -> None:
    """Refuse what needs a memory of other responses.

    Raises:
        UnsupportedParameter: names the parameter.
    """
    for name, remedy in _STATEFUL.items():
        if getattr(body, name):
            raise UnsupportedParameter(f"'{name}' cannot be served: {remedy}", param=name)


def ask_of(body: ResponsesRequest, conversation: Conversation) -> Ask:
    """Convert a request whose conversation has been read.

    Raises:
        RequestError: fields contradict each other or hold what no backend can serve.
    """
    return ask_for(_request(body, conversation), body.openkimi)


def _request(body: ResponsesRequest, conversation: Conversation) -> GenerateRequest:
    tools, choice = tools_of(body)
    return GenerateRequest(
        messages=tuple(conversation.messages),
        model=body.model or "",
        max_tokens=body.max_output_tokens or None,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logprobs=_LOGPROBS in (body.include or ()) or bool(body.top_logprobs),
        top_logprobs=body.top_logprobs or 0,
        response_format=_format((body.text and body.text.format) or TextFormat()),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        user=body.user,
    )


def _format(wanted: TextFormat) -> ResponseFormat:
    if wanted.type != "json_schema":
        return ResponseFormat(type=wanted.type)
    if wanted.name is UNSET or wanted.schema is UNSET:
        where = f"text.format.{'name' if wanted.name is UNSET else 'schema'}"
        message = f"'{where}' is required for the type 'json_schema'"
        raise RequestError(message, param=where, code="missing_required_parameter")
    strict = None if wanted.strict is UNSET else wanted.strict
    return ResponseFormat(type="json_schema", name=wanted.name, schema=wanted.schema, strict=strict)
