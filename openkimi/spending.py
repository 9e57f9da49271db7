"""What answers of the model use, also those that break off."""

from __future__ import annotations

import msgspec
import structlog

from openkimi.contracts import Backend
from openkimi.gathering import Choice
from openkimi.messages import Delta, Usage

log = structlog.get_logger()


class SharedPrompts:
    """The prompts that several answers to one request share: each counts once, as OpenAI has it."""

    def __init__(self) -> None:
        self._counted: set[int] = set()

    def once(self, number: int, usage: Usage) -> Usage:
        """Return what to count for an answer to the prompt of that number, which the first to end counts."""
        if number in self._counted:
            return msgspec.structs.replace(usage, prompt_tokens=0, cached_tokens=0)
        if usage.prompt_tokens:
            self._counted.add(number)
        return usage


class Spending:
    """Gathers an answer whose prompt has been counted, and tells what it has used so far."""

    def __init__(self, prompt_tokens: int) -> None:
        self.answer = Choice()
        self.deltas: list[Delta] = []
        self._prompt_tokens = prompt_tokens
        self._told = False

    def add(self, delta: Delta) -> None:
        """Take one more delta."""
        self.deltas.append(delta)
        self.answer.add(delta)
        self._told = self._told or delta.usage is not None

    async def usage(self, backend: Backend) -> Usage:
        """Return what the backend told; where it did not come to that, count what was read and written.

        A backend that breaks off may not be able to count either: then what was written is left out.
        """
        if self._told:
            return self.answer.usage
        calls = (f"{call.name}{call.arguments}" for call in self.answer.tool_calls)
        try:
            reasoning, *rest = await backend.count_tokens([self.answer.reasoning, self.answer.text, *calls])
        except Exception as error:
            log.warning("usage_not_counted", error=type(error).__name__)
            log.debug("usage_not_counted_because", exc_info=error)
            return Usage(prompt_tokens=self._prompt_tokens)
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=reasoning + sum(rest),
            reasoning_tokens=reasoning,
        )
