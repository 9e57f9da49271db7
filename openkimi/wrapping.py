"""A backend around another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from openkimi.contracts import Backend
from openkimi.messages import Delta, GenerateRequest


class _Inside:
    """An attribute that is the inner backend's, as it is now, unless the wrapper has one of its own."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, wrapper: BackendWrapper | None, owner: type) -> Any:
        return self if wrapper is None else getattr(wrapper.backend, self._name)


def _inside() -> Any:
    return _Inside()


class BackendWrapper(Backend):
    """Is like the ``backend`` inside of it, in everything that a subclass does not change."""

    features = _inside()
    parameters = _inside()
    concurrency = _inside()
    takes_turns = _inside()

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def context_window(self) -> int:
        """The most tokens that prompt and answer may have together."""
        return self.backend.context_window

    def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request."""
        return self.backend.generate(request)

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of a request's prompt."""
        return await self.backend.count_prompt(request)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return await self.backend.count_tokens(texts)

    async def trim(self) -> None:
        """Let go of what can be made anew."""
        await self.backend.trim()
