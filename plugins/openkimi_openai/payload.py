"""Writes a request as OpenAI's ``/chat/completions`` wants it."""

from __future__ import annotations

from typing import Any

from openkimi import GenerateRequest, Message, ResponseFormat, TextPart, Tool, ToolChoice
from openkimi_openai.options import OpenAIOptions

_DEFAULTS = GenerateRequest(messages=())


def encode_request(request: GenerateRequest, options: OpenAIOptions) -> dict[str, Any]:
    """Write a request; settings that have their defaults are left out."""
    payload: dict[str, Any] = {
        "model": options.model_name,
        "messages": [encode_message(message) for message in request.messages],
    }
    if is_streamed(request, options):
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.max_tokens is not None and (request.limited or options.max_output_tokens):
        payload[options.max_tokens_field] = min(
            request.max_tokens, options.max_output_tokens or request.max_tokens
        )
    return payload | _sampling(request) | _shape(request)


def is_streamed(request: GenerateRequest, options: OpenAIOptions) -> bool:
    """Tell whether the server is asked for a stream."""
    return request.stream or options.stream == "always"


def encode_message(message: Message) -> dict[str, Any]:
    """Write a message; parts that are all text become one text, which every server understands."""
    encoded: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        encoded["name"] = message.name
    if message.tool_call_id is not None:
        encoded["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        encoded["content"] = encoded["content"] or None
        encoded["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _sendable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return encoded


def _content(message: Message) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str) or all(isinstance(part, TextPart) for part in message.content):
        return _sendable(message.text)
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": _sendable(part.text)})
        else:
            image = {"url": part.url} | ({"detail": part.detail} if part.detail else {})
            parts.append({"type": "image_url", "image_url": image})
    return parts


def _sendable(text: str) -> str:
    """Replace lone surrogates, which JSON in UTF-8 cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _sampling(request: GenerateRequest) -> dict[str, Any]:
    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "user")
    settings = {name: getattr(request, name) for name in names}
    payload = {name: value for name, value in settings.items() if value != getattr(_DEFAULTS, name)}
    if request.logit_bias:
        payload["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    if request.stop:
        payload["stop"] = list(request.stop)
    if request.logprobs:
        payload["logprobs"] = True
        payload |= {"top_logprobs": request.top_logprobs} if request.top_logprobs else {}
    return payload


def _shape(request: GenerateRequest) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if request.response_format.type != "text":
        payload["response_format"] = _response_format(request.response_format)
    if not request.tools:
        return payload
    payload["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice.mode != "auto":
        payload["tool_choice"] = _tool_choice(request.tool_choice)
    if request.parallel_tool_calls is not None:
        payload["parallel_tool_calls"] = request.parallel_tool_calls
    return payload


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.type == "json_object":
        return {"type": "json_object"}
    schema = {"name": wanted.name or "answer", "schema": wanted.schema, "strict": wanted.strict}
    return {"type": "json_schema", "json_schema": _given(schema)}


def _tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": _given(function)}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
