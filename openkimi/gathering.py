"""Makes one answer of the deltas it came in."""

from __future__ import annotations

import secrets

import msgspec

from openkimi.messages import Delta, FinishReason, TokenLogprob, ToolCall, Usage
from openkimi.progress import Progress
from openkimi.receipt import Receipt


class Choice(msgspec.Struct, kw_only=True):
    """One answer while it is being gathered, and after."""

    content: list[str] = []
    thoughts: list[str] = []
    calls: dict[int, ToolCall] = {}
    logprobs: list[TokenLogprob] = []
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()

    def add(self, delta: Delta) -> None:
        """Take one more delta."""
        if delta.content:
            self.content.append(delta.content)
        if delta.reasoning:
            self.thoughts.append(delta.reasoning)
        self.logprobs.extend(delta.logprobs)
        for piece in delta.tool_calls:
            known = self.calls.get(piece.index)
            self.calls[piece.index] = ToolCall(
                id=known.id if known else piece.id or f"call_{secrets.token_hex(12)}",
                name=(known.name if known else "") or piece.name or "",
                arguments=(known.arguments if known else "") + piece.arguments,
            )
        self.finish_reason = delta.finish_reason or self.finish_reason
        if delta.usage is not None:
            self.usage += delta.usage

    @property
    def text(self) -> str:
        """What was answered."""
        return "".join(self.content)

    @property
    def reasoning(self) -> str:
        """What the model thought before, where it tells."""
        return "".join(self.thoughts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the model asks for, in its order."""
        return tuple(call for _, call in sorted(self.calls.items()))


class Answer:
    """All ``n`` choices of an answer while it is being gathered, and after, with their prompt's receipt."""

    def __init__(self, n: int = 1) -> None:
        self.choices = tuple(Choice() for _ in range(n))
        self.receipt: Receipt | None = None

    def add(self, event: Delta | Receipt | Progress) -> None:
        """Take one more event."""
        if isinstance(event, Delta):
            self.choices[event.index].add(event)
        elif isinstance(event, Receipt):
            self.receipt = event

    @property
    def usage(self) -> Usage:
        """Tokens of all choices."""
        return sum((choice.usage for choice in self.choices), start=Usage())
