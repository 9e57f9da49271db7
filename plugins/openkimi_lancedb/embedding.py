"""Asks the embedder: a question at once, stored chunks when no question waits."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import numpy as np
import structlog

from openkimi import Chunk, Embedder, OpenKimiError, Vectors
from openkimi_lancedb.parts import PARTS, parts_of, split_rows, unwrapped

log = structlog.get_logger()

_AT_ONCE = 12
_PATIENCE = 0.25
_MOST_BYTES = 64 * 1024 * 1024


class Embedding:
    """Shares one embedder between searches and the vectors made in the background."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._searches = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._turn = asyncio.Lock()
        self._made = _Made()

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
            log.warning("question_not_embedded", error=error.for_log)
            return None
        return vector if np.any(vector) else None

    async def now(self, chunks: Sequence[Chunk]) -> dict[int, Vectors]:
        """Embed whole chunks that a search needs, the first ones first, as many as time allows; by ordinal.

        What was embedded is remembered, for the next question and for the vectors made in the background.
        """
        found = dict[int, Vectors]()
        missing = list[Chunk]()
        for chunk in chunks:
            known = self._made.get((chunk.key, 0))
            if known is None:
                missing.append(chunk)
            else:
                found[chunk.ordinal] = known[0]
        end = time.monotonic() + _PATIENCE
        for at in range(0, len(missing), _AT_ONCE):
            if at and time.monotonic() > end:
                break
            some = missing[at : at + _AT_ONCE]
            texts = [unwrapped(chunk.text) for chunk in some]
            vectors = await self._first(partial(self._embedder.embed, texts))
            for chunk, vector in zip(some, vectors, strict=True):
                found[chunk.ordinal] = vector
                self._made.put((chunk.key, 0), vector[None])
        return found

    async def later(self, chunks: Sequence[Chunk], first: int) -> dict[str, Vectors]:
        """Embed the whole of some chunks (``first`` is 0) or their sentences (1), by the chunks' keys.

        It waits until no search is running and it is its turn. What another document, or a question, has had
        embedded lately is not embedded again.
        """
        async with self._turn:
            await self._quiet.wait()
            found = {chunk.key: self._made.get((chunk.key, first)) for chunk in chunks}
            missing = [chunk for chunk in _unique(chunks) if found[chunk.key] is None]
            texts = await asyncio.to_thread(lambda: [_parts(chunk, first) for chunk in missing])
            made = np.zeros((0, self.dimensions), np.float32)
            if any(texts):
                made = await self._embedder.embed([text for some in texts for text in some])
        for chunk, vectors in zip(missing, split_rows(made, [len(some) for some in texts]), strict=True):
            found[chunk.key] = vectors
            self._made.put((chunk.key, first), vectors)
        return {key: vectors for key, vectors in found.items() if vectors is not None}

    def trim(self) -> None:
        """Forget the vectors that were made last."""
        self._made = _Made()

    async def _first(self, embed: Callable[[], Awaitable[Vectors]]) -> Vectors:
        self._searches += 1
        self._quiet.clear()
        try:
            return await embed()
        finally:
            self._searches -= 1
            if not self._searches:
                self._quiet.set()


class _Made:
    """The vectors made last, by the key of the chunk and the number of the first of its parts."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Vectors] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, int]) -> Vectors | None:
        return self._kept.get(key)

    def put(self, key: tuple[str, int], vectors: Vectors) -> None:
        if key not in self._kept:
            self._kept[key] = vectors.copy()
            self._bytes += vectors.nbytes
        while self._bytes > _MOST_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _unique(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    return list({chunk.key: chunk for chunk in chunks}.values())


def _parts(chunk: Chunk, first: int) -> Sequence[str]:
    parts = parts_of(chunk.text)
    return parts[1:] if first else parts[:1]
