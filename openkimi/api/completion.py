"""An answer as one ``chat.completion``."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.api import schemas as wire
from openkimi.api.convert import logprobs_of, usage_of
from openkimi.messages import Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage
from openkimi.pipeline import Event
from openkimi.receipt import Receipt
from openkimi.streams import closing


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of one answer share."""

    id: str
    created: int
    model: str

    @classmethod
    def new(cls, model: str) -> Header:
        """Make a header with an id of its own, of now; ``model`` is what the caller sent."""
        return cls(id=f"chatcmpl-{secrets.token_hex(12)}", created=int(time.time()), model=model)


class _Answer:
    """One choice while it is being gathered."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, wire.ToolCall] = {}
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: FinishReason = "stop"

    def add(self, delta: Delta) -> None:
        self.content.append(delta.content)
        self.reasoning.append(delta.reasoning)
        self.logprobs.extend(delta.logprobs)
        for piece in delta.tool_calls:
            self._call(piece)
        self.finish_reason = delta.finish_reason or self.finish_reason

    def choice(self, index: int) -> wire.Choice:
        content, reasoning = "".join(self.content), "".join(self.reasoning)
        calls = [call for _, call in sorted(self.calls.items())]
        message = wire.ResponseMessage(
            content=content if content or not calls else None,
            reasoning_content=reasoning or UNSET,
            tool_calls=calls or UNSET,
        )
        logprobs = logprobs_of(self.logprobs)
        return wire.Choice(index=index, message=message, finish_reason=self.finish_reason, logprobs=logprobs)

    def _call(self, piece: ToolCallDelta) -> None:
        known = self.calls.get(piece.index)
        name = known.function.name if known else piece.name or ""
        arguments = (known.function.arguments if known else "") + piece.arguments
        self.calls[piece.index] = wire.ToolCall(
            id=known.id if known else piece.id or f"call_{secrets.token_hex(12)}",
            function=wire.FunctionCall(name=name, arguments=arguments),
        )


async def completion_of(events: AsyncIterator[Event], header: Header, n: int) -> wire.ChatCompletion:
    """Gather all choices of an answer."""
    answers = [_Answer() for _ in range(n)]
    usage = Usage()
    receipt: Receipt | UnsetType = UNSET
    async with closing(events) as items:
        async for event in items:
            if isinstance(event, Receipt):
                receipt = event
                continue
            answers[event.index].add(event)
            usage += usage_in(event)
    return wire.ChatCompletion(
        id=header.id,
        created=header.created,
        model=header.model,
        choices=[answer.choice(index) for index, answer in enumerate(answers)],
        usage=usage_of(usage),
        openkimi=receipt,
    )


def usage_in(delta: Delta) -> Usage:
    """Return the tokens to add for a delta; the prompt of several choices counts once, as OpenAI has it."""
    usage = delta.usage or Usage()
    return msgspec.structs.replace(usage, prompt_tokens=0, cached_tokens=0) if delta.index else usage
