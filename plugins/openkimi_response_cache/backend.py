"""A model that remembers what it answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import msgspec

from openkimi import Backend, BackendWrapper, Delta, GenerateRequest, Usage
from openkimi_response_cache.answers import Answers
from openkimi_response_cache.key import key_of
from openkimi_response_cache.outcome import note

_IN_A_ROW = 64
"""Deltas from memory that are given at once: no stretch of them may hold up other requests for long."""


class CachingBackend(BackendWrapper):
    """Gives the answer to a request that came before, delta by delta, as it was given then.

    Only whole answers are kept: one that failed, or whose caller left, is none.
    """

    def __init__(self, backend: Backend, answers: Answers) -> None:
        super().__init__(backend)
        self._answers = answers

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer from memory, or ask the model and remember."""
        key = key_of(request, self.features)
        if key is None:
            steps = self._ask(request)
        else:
            known = self._answers.get(key)
            note(hit=known is not None)
            steps = self._ask_and_keep(request, key) if known is None else _replay(known)
        async with aclosing(steps) as deltas:
            async for delta in deltas:
                yield delta

    async def trim(self) -> None:
        """Forget the answers, and let the model let go of what it can."""
        self._answers.clear()
        await super().trim()

    def _ask(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        return cast("AsyncGenerator[Delta, None]", self.backend.generate(request))

    async def _ask_and_keep(self, request: GenerateRequest, key: bytes) -> AsyncGenerator[Delta, None]:
        answer: list[Delta] = []
        async with aclosing(self._ask(request)) as deltas:
            async for delta in deltas:
                answer.append(delta)
                yield delta
        if answer and any(delta.finish_reason is not None for delta in answer):
            self._answers.put(key, await self._with_usage(request, answer))

    async def _with_usage(self, request: GenerateRequest, answer: list[Delta]) -> list[Delta]:
        """Count an answer whose model does not, so that from memory its prompt is told as cached."""
        if any(delta.usage is not None for delta in answer):
            return answer
        [written] = await self.count_tokens(["".join(delta.content for delta in answer)])
        usage = Usage(prompt_tokens=await self.count_prompt(request), completion_tokens=written)
        return [*answer[:-1], msgspec.structs.replace(answer[-1], usage=usage)]


async def _replay(answer: tuple[Delta, ...]) -> AsyncGenerator[Delta, None]:
    for at, delta in enumerate(answer):
        if at % _IN_A_ROW == _IN_A_ROW - 1:
            await asyncio.sleep(0)
        yield delta if delta.usage is None else _nothing_read(delta)


def _nothing_read(delta: Delta) -> Delta:
    """Say that the prompt needed no computation."""
    assert delta.usage is not None
    usage = msgspec.structs.replace(delta.usage, cached_tokens=delta.usage.prompt_tokens)
    return msgspec.structs.replace(delta, usage=usage)
