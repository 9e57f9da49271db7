"""Asks the embedder: a question at once, stored chunks when no question waits."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import structlog

from openkimi import Chunk, Embedder, OpenKimiError, Vectors
from openkimi_lancedb.parts import PARTS, split_rows

log = structlog.get_logger()

_AT_ONCE = 12
_PATIENCE = 0.25
_REMEMBERED = 4096


class Embedding:
    """Shares one embedder between searches and the vectors made in the background."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._searches = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._turn = asyncio.Lock()
        self._known: OrderedDict[str, Vectors] = OrderedDict()

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

    async def now(self, chunks: Sequence[Chunk]) -> dict[int, Vectors]:
        """Embed whole chunks that a search needs, the first ones first, as many as time allows; by ordinal.

        What was embedded is remembered, for the next question and for the vectors made in the background.
        """
        found = {chunk.ordinal: self._known[chunk.key] for chunk in chunks if chunk.key in self._known}
        missing = [chunk for chunk in chunks if chunk.key not in self._known]
        end = time.monotonic() + _PATIENCE
        for at in range(0, len(missing), _AT_ONCE):
            if at and time.monotonic() > end:
                break
            some = missing[at : at + _AT_ONCE]
            for chunk, vector in zip(some, await self._embed_first(some), strict=True):
                found[chunk.ordinal] = vector
                self._remember(chunk.key, vector)
        return found

    def remembered(self, chunks: Sequence[Chunk]) -> dict[str, Vectors]:
        """Give what :meth:`now` made of these chunks: by their keys, arrays of shape ``(1, dimensions)``."""
        return {chunk.key: self._known[chunk.key][None] for chunk in chunks if chunk.key in self._known}

    async def later(self, chunks: Sequence[Chunk], parts: Callable[[Chunk], Sequence[str]]) -> list[Vectors]:
        """Embed parts of some chunks when no search is waiting and it is their turn."""
        texts = await asyncio.to_thread(lambda: [parts(chunk) for chunk in chunks])
        async with self._turn:
            await self._quiet.wait()
            vectors = await self._embedder.embed([text for some in texts for text in some])
        return split_rows(vectors, [len(some) for some in texts])

    async def _embed_first(self, chunks: Sequence[Chunk]) -> Vectors:
        return await self._first(lambda: self._embedder.embed([chunk.text for chunk in chunks]))

    def _remember(self, key: str, vector: Vectors) -> None:
        self._known[key] = vector
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _first(self, embed: Callable[[], Awaitable[Vectors]]) -> Vectors:
        self._searches += 1
        self._quiet.clear()
        try:
            return await embed()
        finally:
            self._searches -= 1
            if not self._searches:
                self._quiet.set()
