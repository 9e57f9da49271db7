"""Functions, the former name of tools: read as tools, and answered as functions."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET

from openkimi.api import schemas as wire


def asks_for_functions(body: wire.ChatCompletionRequest) -> bool:
    """Tell whether an answer has to use the former names; where ``tools`` are sent too, these count."""
    return bool(body.functions) and not body.tools


def with_tools(body: wire.ChatCompletionRequest) -> wire.ChatCompletionRequest:
    """Return the request with tools in place of functions, one call at a time as these had it."""
    messages = _messages(body.messages)
    if not asks_for_functions(body):
        return body if messages is body.messages else msgspec.structs.replace(body, messages=messages)
    return msgspec.structs.replace(
        body,
        messages=messages,
        tools=[wire.ToolDefinition(type="function", function=each) for each in body.functions or ()],
        tool_choice=_tool_choice(body.function_call),
        parallel_tool_calls=False,
    )


def completion_with_function_call(completion: wire.ChatCompletion) -> wire.ChatCompletion:
    """Write the calls in an answer by their former name."""
    return msgspec.structs.replace(completion, choices=[_choice(choice) for choice in completion.choices])


def chunk_with_function_call(chunk: wire.ChatCompletionChunk) -> wire.ChatCompletionChunk:
    """Write the piece of a call in a chunk by its former name."""
    return msgspec.structs.replace(chunk, choices=[_chunk_choice(choice) for choice in chunk.choices])


def _tool_choice(
    choice: Literal["none", "auto"] | wire.NamedFunction | None,
) -> Literal["none", "auto"] | wire.ToolChoiceObject | None:
    if isinstance(choice, wire.NamedFunction):
        return wire.ToolChoiceObject(type="function", function=choice)
    return choice


def _messages(messages: list[wire.RequestMessage]) -> list[wire.RequestMessage]:
    """Give every former call an id of its own, which its result refers to."""
    if not any(message.function_call or message.role == "function" for message in messages):
        return messages
    converted: list[wire.RequestMessage] = []
    call_id = "call_0"
    for at, message in enumerate(messages):
        call_id = f"call_{at}" if message.function_call else call_id
        converted.append(_message(message, call_id))
    return converted


def _message(message: wire.RequestMessage, call_id: str) -> wire.RequestMessage:
    if message.role == "function":
        return msgspec.structs.replace(message, tool_call_id=call_id)
    if message.function_call is None:
        return message
    call = wire.RequestToolCall(id=call_id, function=message.function_call)
    return msgspec.structs.replace(message, tool_calls=[*(message.tool_calls or ()), call])


def _choice(choice: wire.Choice) -> wire.Choice:
    if choice.message.tool_calls is UNSET:
        return choice
    message = msgspec.structs.replace(
        choice.message, tool_calls=UNSET, function_call=choice.message.tool_calls[0].function
    )
    return msgspec.structs.replace(choice, message=message, finish_reason=_reason(choice.finish_reason))


def _chunk_choice(choice: wire.ChunkChoice) -> wire.ChunkChoice:
    delta = choice.delta
    if delta.tool_calls is not UNSET:
        pieces = [piece.function for piece in delta.tool_calls if piece.index == 0]
        delta = msgspec.structs.replace(delta, tool_calls=UNSET, function_call=pieces[0] if pieces else UNSET)
    reason = choice.finish_reason and _reason(choice.finish_reason)
    return msgspec.structs.replace(choice, delta=delta, finish_reason=reason)


def _reason(reason: wire.ChoiceFinishReason) -> wire.ChoiceFinishReason:
    return "function_call" if reason == "tool_calls" else reason
