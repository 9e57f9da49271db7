"""Asks the embedder: a question at once, stored chunks when no question waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import structlog

from openkimi import Chunk, Embedder, OpenKimiError, Vectors

log = structlog.get_logger()


class Embedding:
    """Shares one embedder between searches and the vectors made in the background."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._searches = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._turn = asyncio.Lock()

    @property
    def fingerprint(self) -> str:
        """The embedder's own."""
        return self._embedder.fingerprint

    @property
    def dimensions(self) -> int:
        """The embedder's own."""
        return self._embedder.dimensions

    async def question(self, text: str) -> Vectors | None:
        """Embed a question; None when there is nothing to embed in it, or the embedder fails."""
        try:
            vector = (await self._first(lambda: self._embedder.embed([text], input_type="query")))[0]
        except OpenKimiError as error:
            log.warning("question_not_embedded", error=error.message)
            return None
        return vector if np.any(vector) else None

    async def now(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed a few chunks that a search needs."""
        return await self._first(lambda: self._embedder.embed(_texts(chunks)))

    async def later(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed some chunks when no search is waiting and it is their turn."""
        async with self._turn:
            await self._quiet.wait()
            return await self._embedder.embed(_texts(chunks))

    async def _first(self, embed: Callable[[], Awaitable[Vectors]]) -> Vectors:
        self._searches += 1
        self._quiet.clear()
        try:
            return await embed()
        finally:
            self._searches -= 1
            if not self._searches:
                self._quiet.set()


def _texts(chunks: Sequence[Chunk]) -> list[str]:
    return ["\n".join((*chunk.headings, chunk.text)) for chunk in chunks]
