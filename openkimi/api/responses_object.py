"""The ``response`` object as it begins, as it ends and as it fails."""

from __future__ import annotations

import itertools
import secrets
import time
from typing import Literal

import msgspec

from openkimi.api import responses_schemas as wire
from openkimi.api.responses_output import Output
from openkimi.api.responses_request import ReasoningOptions, ResponsesRequest, TextFormat, TextOptions
from openkimi.api.schemas import ErrorDetail
from openkimi.gathering import Answer
from openkimi.messages import Delta, FinishReason, ToolCallDelta, Usage

_REASONS: dict[FinishReason, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


def begun(body: ResponsesRequest, model: str) -> wire.ResponseObject:
    """Make a response of now that is in progress, with the settings of its request."""
    text = body.text or TextOptions()
    return wire.ResponseObject(
        id=f"resp_{secrets.token_hex(24)}",
        created_at=int(time.time()),
        model=model,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=body.reasoning or ReasoningOptions(),
        safety_identifier=body.safety_identifier,
        temperature=1.0 if body.temperature is None else body.temperature,
        text=TextOptions(format=text.format or TextFormat(), verbosity=text.verbosity or "medium"),
        tool_choice=body.tool_choice or "auto",
        tools=body.tools or [],
        top_logprobs=body.top_logprobs or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
        metadata=body.metadata or {},
    )


def answered(response: wire.ResponseObject, answer: Answer) -> wire.ResponseObject:
    """Put a whole answer into a response."""
    [choice] = answer.choices
    calls = (
        ToolCallDelta(index=at, id=call.id, name=call.name, arguments=call.arguments)
        for at, call in enumerate(choice.tool_calls)
    )
    whole = Delta(
        reasoning=choice.reasoning,
        content=choice.text,
        tool_calls=tuple(calls),
        logprobs=tuple(choice.logprobs),
        finish_reason=choice.finish_reason,
        usage=answer.usage,
    )
    output = Output(itertools.count())
    for _ in (*output.add(whole), *output.end()):
        pass
    return ended(response, output)


def ended(response: wire.ResponseObject, output: Output) -> wire.ResponseObject:
    """Put items that have ended into a response, and say how they ended."""
    reason = _REASONS.get(output.finish_reason)
    return msgspec.structs.replace(
        response,
        status="incomplete" if reason else "completed",
        completed_at=None if reason else int(time.time()),
        incomplete_details=wire.IncompleteDetails(reason=reason) if reason else None,
        output=output.items,
        usage=_usage(output.usage),
    )


def failed(response: wire.ResponseObject, output: Output, error: ErrorDetail) -> wire.ResponseObject:
    """Put what came before a failure into a response, and the failure."""
    return msgspec.structs.replace(
        response,
        status="failed",
        error=wire.ResponseError(code=_code(error), message=error.message),
        output=output.items,
    )


def _code(error: ErrorDetail) -> Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]:
    if error.type == "rate_limit_error":
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.type == "invalid_request_error" else "server_error"


def _usage(usage: Usage) -> wire.ResponseUsage:
    return wire.ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=wire.InputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=wire.OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )
