"""Asks the embedder: a question at once, stored chunks when no question waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import structlog

from openkimi import Chunk, Embedder, OpenKimiError, Vectors
from openkimi_lancedb.parts import PARTS, parts_of, split_rows

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
        """The embedder's own, and how passages are cut for it."""
        return f"{self._embedder.fingerprint}:{PARTS}"

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
        """Embed a few whole chunks that a search needs."""
        return await self._first(lambda: self._embedder.embed([chunk.text for chunk in chunks]))

    async def later(self, chunks: Sequence[Chunk]) -> list[Vectors]:
        """Embed the parts of some chunks when no search is waiting and it is their turn."""
        parts = [parts_of(chunk.text) for chunk in chunks]
        async with self._turn:
            await self._quiet.wait()
            vectors = await self._embedder.embed([text for some in parts for text in some])
        return split_rows(vectors, [len(some) for some in parts])

    async def _first(self, embed: Callable[[], Awaitable[Vectors]]) -> Vectors:
        self._searches += 1
        self._quiet.clear()
        try:
            return await embed()
        finally:
            self._searches -= 1
            if not self._searches:
                self._quiet.set()
