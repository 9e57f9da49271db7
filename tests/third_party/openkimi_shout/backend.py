"""A backend that answers with the last question in capitals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec

from openkimi import Backend, Delta, GenerateRequest, OpenContext, Usage


class ShoutOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the ``llm`` section may say beside ``"type": "shout"``."""

    suffix: Annotated[str, msgspec.Meta(description="Ends every answer.")] = "!"


class ShoutBackend(Backend):
    """Says the last user message again in capitals, one word at a time; a token is a word."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix

    @property
    def context_window(self) -> int:
        """A round number, as there is no model."""
        return 4096

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Stream the answer, cut off after ``max_tokens`` words."""
        words = self._answer(request).split()
        said = words[: request.max_tokens]
        for number, word in enumerate(said):
            yield Delta(content=word if number == 0 else f" {word}")
        usage = Usage(prompt_tokens=await self.count_prompt(request), completion_tokens=len(said))
        yield Delta(finish_reason="stop" if said == words else "length", usage=usage)

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the words of all messages."""
        return sum(await self.count_tokens([message.text for message in request.messages]))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the words of each text."""
        return [len(text.split()) for text in texts]

    def _answer(self, request: GenerateRequest) -> str:
        questions = [message.text for message in request.messages if message.role == "user"]
        return questions[-1].upper() + self._suffix if questions else self._suffix


@asynccontextmanager
async def open_shout(options: ShoutOptions, context: OpenContext) -> AsyncIterator[ShoutBackend]:
    """Open the backend; there is nothing to load or to close."""
    yield ShoutBackend(options.suffix)
