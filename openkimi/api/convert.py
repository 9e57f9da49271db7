"""Between OpenAI's wire format and the domain: the only place that knows both."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET

from openkimi.api import schemas as wire
from openkimi.api.functions import with_tools
from openkimi.api.tools import tools_of
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
    ToolCall,
    TopLogprob,
    Usage,
)
from openkimi.turn import Ask, PathOptions

_MAX_STOP = 16
_TEXTS = frozenset({"text", "input_text", "output_text"})
"""Types of parts that are text; the last two are those of responses, which clients mix up."""


def ask_of(body: wire.ChatCompletionRequest) -> Ask:
    """Convert a chat completion request.

    Raises:
        RequestError: fields contradict each other or hold what no backend can serve.
    """
    if any(modality != "text" for modality in body.modalities or ()):
        raise UnsupportedParameter("'modalities': text is the only one served", param="modalities")
    if body.top_logprobs and not body.logprobs:
        raise RequestError("'top_logprobs' needs '\"logprobs\": true' beside it", param="top_logprobs")
    body = with_tools(body)
    return ask_for(_request(body), body.openkimi, n=body.n or 1)


def ask_for(request: GenerateRequest, own: wire.OpenKimiOptions | None, *, n: int = 1) -> Ask:
    """Ask for ``n`` answers, with OpenKimi's own options."""
    if own is None:
        return Ask(request=request, n=n)
    return Ask(
        request=request,
        n=n,
        documents=None if own.documents is None else tuple(own.documents),
        mpr_candidates=own.mpr.candidates if own.mpr else None,
        mpr=_path_options(own.mpr) if own.mpr else PathOptions(),
        citations=own.citations is not False,
        mode=own.mode or "auto",
        max_calls=own.max_calls,
    )


def _path_options(own: wire.MprOptions) -> PathOptions:
    return PathOptions(
        gate=own.gate,
        early_stop=own.early_stop,
        timeout=own.timeout,
        max_total_tokens=own.max_total_tokens,
        on_unsupported=own.on_unsupported,
        drafts=bool(own.drafts),
    )


def _request(body: wire.ChatCompletionRequest) -> GenerateRequest:
    tools, choice = tools_of(body)
    return GenerateRequest(
        messages=tuple(_message(message, at) for at, message in enumerate(body.messages)),
        model=body.model or "",
        max_tokens=_limit(body.max_completion_tokens) or _limit(body.max_tokens),
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
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        user=body.user,
    )


def _limit(tokens: int | None) -> int | None:
    """Read 0 and -1, which clients send for it, as no limit."""
    return tokens if tokens and tokens > 0 else None


def _message(message: wire.RequestMessage, at: int) -> Message:
    where = f"messages[{at}]"
    if message.role == "tool" and message.tool_call_id is None:
        raise _required(f"{where}.tool_call_id", "for the role 'tool'")
    content = message.refusal if message.content is None else message.content
    if content is None and message.role != "assistant":
        raise _required(f"{where}.content", f"for the role '{message.role}'; it may be an empty text")
    return Message(
        role="tool" if message.role == "function" else message.role,
        content=_content(content, f"{where}.content"),
        name=message.name,
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments or "")
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
    if part.type == "image_url":
        return _image(part.image_url, f"{where}.image_url")
    if part.type not in {*_TEXTS, "refusal"}:
        raise UnsupportedParameter(
            f"'{where}': a part of the type '{part.type[:100]}' cannot be served, send 'text'", param=where
        )
    name, text = ("text", part.text) if part.type in _TEXTS else ("refusal", part.refusal)
    if text is None:
        raise _required(f"{where}.{name}", f"in a part of the type '{part.type}'")
    return TextPart(text=text)


def _image(image: wire.ImageUrl | str | None, where: str) -> ImagePart:
    if image is None:
        raise _required(where, "in a part of the type 'image_url'")
    if isinstance(image, str):
        return ImagePart(url=image)
    return ImagePart(url=image.url, detail=image.detail)


def _required(where: str, why: str) -> RequestError:
    return RequestError(f"'{where}' is required {why}", param=where, code="missing_required_parameter")


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
    if wanted.type == "json_object" and wanted.schema is not None:
        return ResponseFormat(type="json_schema", name="response", schema=wanted.schema)
    if wanted.type != "json_schema":
        return ResponseFormat(type=wanted.type)
    where = "response_format.json_schema"
    if wanted.json_schema is None:
        raise _required(where, "for the type 'json_schema'")
    schema = wanted.json_schema
    if schema.schema is None:
        raise _required(f"{where}.schema", "for the type 'json_schema'")
    return ResponseFormat(
        type="json_schema", name=schema.name or "response", schema=schema.schema, strict=schema.strict
    )


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
