"""Between OpenAI's wire format and the domain: the only place that knows both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import UNSET

from openkimi.api import schemas as wire
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import (
    Delta,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    ResponseFormat,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    TopLogprob,
    Usage,
)
from openkimi.turn import Ask

_MAX_STOP = 16
_TOKEN_ID = re.compile(r"[0-9]{1,10}")


def ask_of(body: wire.ChatCompletionRequest) -> Ask:
    """Convert a chat completion request.

    Raises:
        RequestError: fields contradict each other or hold what no backend can serve.
    """
    if any(modality != "text" for modality in body.modalities or ()):
        raise UnsupportedParameter("'modalities': text is the only one served", param="modalities")
    if body.functions:
        raise UnsupportedParameter("'functions' is OpenAI's former name: send 'tools'", param="functions")
    own = body.openkimi or wire.OpenKimiOptions()
    return Ask(
        request=_request(body),
        n=body.n or 1,
        documents=None if own.documents is None else tuple(own.documents),
        mpr_candidates=own.mpr.candidates if own.mpr else None,
    )


def _request(body: wire.ChatCompletionRequest) -> GenerateRequest:
    return GenerateRequest(
        messages=tuple(_message(message, at) for at, message in enumerate(body.messages)),
        model=body.model,
        max_tokens=body.max_completion_tokens or body.max_tokens or None,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=logit_bias_of(body.logit_bias or {}),
        stop=stop_of(body.stop),
        seed=body.seed,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        response_format=_response_format(body.response_format),
        tools=tuple(_tool(tool, at) for at, tool in enumerate(body.tools or ())),
        tool_choice=_tool_choice(body.tool_choice, body.tools or ()),
        parallel_tool_calls=body.parallel_tool_calls,
        user=body.user,
    )


def _message(message: wire.RequestMessage, at: int) -> Message:
    if message.role == "tool" and message.tool_call_id is None:
        where = f"messages[{at}].tool_call_id"
        raise RequestError(f"'{where}' is required for the role 'tool'", param=where)
    return Message(
        role=message.role,
        content=_content(message.content, f"messages[{at}].content"),
        name=message.name,
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
    )


def _content(content: str | list[wire.ContentPart] | None, where: str) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    parts = tuple(_part(part, f"{where}[{at}]") for at, part in enumerate(content or ()))
    if all(isinstance(part, TextPart) for part in parts):
        return "\n\n".join(part.text for part in parts if isinstance(part, TextPart))
    return parts


def _part(part: wire.ContentPart, where: str) -> Part:
    if part.type == "text" and part.text is not None:
        return TextPart(text=part.text)
    if part.type == "refusal" and part.refusal is not None:
        return TextPart(text=part.refusal)
    if part.type == "image_url" and part.image_url is not None:
        return ImagePart(url=part.image_url.url, detail=part.image_url.detail)
    raise UnsupportedParameter(f"'{where}': a part of type '{part.type}' cannot be served", param=where)


def stop_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """Convert stop sequences; empty ones are none.

    Raises:
        RequestError: there are too many.
    """
    sequences = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(sequences) > _MAX_STOP:
        raise RequestError(f"'stop': {_MAX_STOP} sequences at most, got {len(sequences)}", param="stop")
    return tuple(sequence for sequence in sequences if sequence)


def logit_bias_of(bias: dict[str, float]) -> dict[int, float]:
    """Keep what names a token; clients send other keys too, which OpenAI ignores."""
    return {
        int(token): value
        for token, value in bias.items()
        if len(token) <= 10 and token.isascii() and token.isdecimal()
    }


def _response_format(wanted: wire.ResponseFormat | None) -> ResponseFormat:
    if wanted is None:
        return ResponseFormat()
    if wanted.type != "json_schema":
        return ResponseFormat(type=wanted.type)
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        where = "response_format.json_schema"
        raise RequestError(f"'{where}.schema' is required for the type 'json_schema'", param=where)
    schema = wanted.json_schema
    return ResponseFormat(type="json_schema", name=schema.name, schema=schema.schema, strict=schema.strict)


def _tool(tool: wire.ToolDefinition, at: int) -> Tool:
    if tool.type != "function" or tool.function is None:
        where = f"tools[{at}].type"
        raise UnsupportedParameter(f"'{where}': function tools only, got '{tool.type}'", param=where)
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        strict=function.strict,
    )


def _tool_choice(
    choice: str | wire.NamedToolChoice | None, tools: Sequence[wire.ToolDefinition]
) -> ToolChoice:
    if isinstance(choice, wire.NamedToolChoice):
        name = choice.function.name
        if name not in {tool.function.name for tool in tools if tool.function}:
            raise RequestError(f"'tool_choice' names '{name}', which is not in 'tools'", param="tool_choice")
        return ToolChoice(mode="named", name=name)
    if choice == "required" and not tools:
        raise RequestError("'tool_choice' is 'required', but there are no 'tools'", param="tool_choice")
    return ToolChoice(mode="none" if choice == "none" else "required" if choice == "required" else "auto")


def usage_of(usage: Usage) -> wire.CompletionUsage:
    """Convert token counts."""
    return wire.CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=wire.PromptTokensDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=wire.CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens),
    )


def tool_call_of(call: ToolCall) -> wire.ToolCall:
    """Convert a whole tool call."""
    return wire.ToolCall(id=call.id, function=wire.FunctionCall(name=call.name, arguments=call.arguments))


def logprobs_of(tokens: Iterable[TokenLogprob]) -> wire.Logprobs | None:
    """Convert log-probabilities, None where there are none."""
    content = [
        wire.TokenLogprob(
            token=token.token,
            logprob=token.logprob,
            bytes=_bytes(token),
            top_logprobs=[
                wire.TopLogprob(token=top.token, logprob=top.logprob, bytes=_bytes(top))
                for top in token.top_logprobs
            ],
        )
        for token in tokens
    ]
    return wire.Logprobs(content=content) if content else None


def delta_of(delta: Delta) -> wire.ChoiceDelta:
    """Convert what a delta adds."""
    return wire.ChoiceDelta(
        content=delta.content or UNSET,
        reasoning_content=delta.reasoning or UNSET,
        tool_calls=[
            wire.ToolCallDelta(
                index=call.index,
                id=call.id or UNSET,
                type="function" if call.id else UNSET,
                function=wire.FunctionCallDelta(name=call.name or UNSET, arguments=call.arguments),
            )
            for call in delta.tool_calls
        ]
        or UNSET,
    )


def _bytes(token: TopLogprob) -> list[int]:
    return list(token.token.encode("utf-8", "replace")) if token.bytes is None else list(token.bytes)
