"""The same conversation told differently, for chat templates that refuse it as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import msgspec

from openkimi import Message, ToolCall

Adaptation = Callable[[Sequence[Message]], Sequence[Message]]


def rename_developer(messages: Sequence[Message]) -> Sequence[Message]:
    """Call the developer ``system``, the only such role that templates know."""
    return [
        msgspec.structs.replace(message, role="system") if message.role == "developer" else message
        for message in messages
    ]


def gather_system(messages: Sequence[Message]) -> Sequence[Message]:
    """Join all system messages into one at the front."""
    system = _joined(message.text for message in messages if message.role == "system")
    others = [message for message in messages if message.role != "system"]
    return [Message(role="system", content=system), *others] if system else others


def tell_user(messages: Sequence[Message]) -> Sequence[Message]:
    """Put the system's words in front of the user's first message."""
    system = _joined(message.text for message in messages if message.role == "system")
    others = [message for message in messages if message.role != "system"]
    if not system:
        return others
    at = next((i for i, message in enumerate(others) if message.role == "user"), None)
    if at is None:
        return [Message(role="user", content=system), *others]
    told = Message(role="user", content=_joined((system, others[at].text)))
    return [*others[:at], told, *others[at + 1 :]]


def shorten_ids(messages: Sequence[Message]) -> Sequence[Message]:
    """Give tool calls ids of nine letters and digits, the only ones that Mistral's templates take."""
    return [
        msgspec.structs.replace(
            message,
            tool_calls=tuple(
                msgspec.structs.replace(call, id=_short(call.id)) for call in message.tool_calls
            ),
            tool_call_id=None if message.tool_call_id is None else _short(message.tool_call_id),
        )
        for message in messages
    ]


def one_call_each(messages: Sequence[Message]) -> Sequence[Message]:
    """Let every call of a tool be a message of its own, followed by its result, as Llama wants it."""
    told: list[Message] = []
    rest = list(messages)
    while rest:
        message = rest.pop(0)
        if len(message.tool_calls) < 2:
            told.append(message)
            continue
        results = {}
        while rest and rest[0].role == "tool":
            result = rest.pop(0)
            results[result.tool_call_id] = result
        for at, call in enumerate(message.tool_calls):
            content = message.content if at == 0 else ""
            told.append(msgspec.structs.replace(message, content=content, tool_calls=(call,)))
            told += [results.pop(call.id)] if call.id in results else []
        told += results.values()
    return told


def spell_out_tools(messages: Sequence[Message]) -> Sequence[Message]:
    """Write tool calls and their results as plain text of the assistant and the user."""
    return [_spelled(message) for message in messages]


def join_neighbours(messages: Sequence[Message]) -> Sequence[Message]:
    """Join neighbouring messages of one role, for templates that want roles to alternate."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role and not (message.tool_calls or joined[-1].tool_calls):
            joined[-1] = Message(role=message.role, content=_joined((joined[-1].text, message.text)))
        else:
            joined.append(message)
    return joined


SPELLED: tuple[tuple[Adaptation, ...], ...] = (
    (spell_out_tools,),
    (spell_out_tools, gather_system),
    (spell_out_tools, tell_user),
    (spell_out_tools, gather_system, join_neighbours),
    (spell_out_tools, tell_user, join_neighbours),
)
"""Those for templates that know nothing of tools."""

ADAPTATIONS: tuple[tuple[Adaptation, ...], ...] = (
    (),
    (shorten_ids,),
    (one_call_each,),
    (gather_system,),
    (gather_system, shorten_ids),
    (gather_system, one_call_each),
    *SPELLED,
)
"""Tried in this order, the one that changes least first."""


def _spelled(message: Message) -> Message:
    if message.role == "tool":
        return Message(role="user", content=f"<tool_response>\n{message.text}\n</tool_response>")
    if not message.tool_calls:
        return message
    calls = "\n".join(map(_call, message.tool_calls))
    return Message(role=message.role, content=_joined((message.text, calls)))


def _call(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {call.arguments or "{}"}}}\n</tool_call>'


def _short(id: str) -> str:
    return hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:9]


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if text)
