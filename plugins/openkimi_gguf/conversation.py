"""The same conversation told differently, for chat templates that refuse it as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from openkimi import Message

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


ADAPTATIONS: tuple[tuple[Adaptation, ...], ...] = (
    (),
    (gather_system,),
    (spell_out_tools,),
    (spell_out_tools, gather_system),
    (spell_out_tools, tell_user),
    (spell_out_tools, gather_system, join_neighbours),
    (spell_out_tools, tell_user, join_neighbours),
)
"""Tried in this order, the one that changes least first."""


def _spelled(message: Message) -> Message:
    if message.role == "tool":
        return Message(role="user", content=f"Result of the tool call:\n{message.text}")
    if not message.tool_calls:
        return message
    calls = "\n".join(f"Tool call: {call.name}({call.arguments})" for call in message.tool_calls)
    return Message(role=message.role, content=_joined((message.text, calls)))


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if text)
