"""What an answer of the model uses, also one that breaks off."""

from __future__ import annotations

from openkimi.contracts import Backend
from openkimi.gathering import Choice
from openkimi.messages import Delta, Usage


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
        """Return what the backend told; where it did not come to that, count what was read and written."""
        if self._told:
            return self.answer.usage
        calls = (f"{call.name}{call.arguments}" for call in self.answer.tool_calls)
        reasoning, *rest = await backend.count_tokens([self.answer.reasoning, self.answer.text, *calls])
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=reasoning + sum(rest),
            reasoning_tokens=reasoning,
        )
