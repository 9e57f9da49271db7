"""Orders the best hits of a search anew by a stronger, slower embedder."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from openkimi.contracts import Embedder
from openkimi.degrading import leave_out
from openkimi.documents import Hit

log = structlog.get_logger()

_RERANKED = 40
_RANK_CONSTANT = 10
_WEIGHT = 1.5
_REMEMBERED = 20_000
_SHARE = 0.5
"""Of the time that is left, what a batch may take: one that is cut off is lost."""


class Reranker:
    """Embeds the best 40 hits, as far as ``milliseconds`` allow, and fuses their order with the search's.

    A chunk is embedded once: its vector is remembered by the chunk's key, so that later questions rerank
    more in the same time. Fusion is by reciprocal rank, the reranker's order counting one and a half times.
    """

    def __init__(self, embedder: Embedder, *, milliseconds: int) -> None:
        self.embedder = embedder
        self._seconds = milliseconds / 1000
        self._known: OrderedDict[str, NDArray[np.float16]] = OrderedDict()

    async def rerank(self, question: str, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Return the same hits in a new order, with its scores; as they were if the embedder fails."""
        best = hits[:_RERANKED]
        if len(best) < 2:
            return hits
        try:
            cosines = await self._cosines(question, best)
        except Exception as error:  # noqa: BLE001 - it is a plugin's
            leave_out("reranker", self.embedder, "embed", error)
            return hits
        order = sorted(cosines, key=lambda at: -cosines[at])
        scores = [1 / (_RANK_CONSTANT + rank) for rank in range(1, len(hits) + 1)]
        for rank, at in enumerate(order, start=1):
            scores[at] += _WEIGHT / (_RANK_CONSTANT + rank)
        scored = [msgspec.structs.replace(hit, score=score) for hit, score in zip(hits, scores, strict=True)]
        return sorted(scored, key=lambda hit: -hit.score)

    async def trim(self) -> None:
        """Forget the vectors of chunks."""
        self._known = OrderedDict()

    async def _cosines(self, question: str, hits: Sequence[Hit]) -> dict[int, float]:
        """Tell how near the hits are that there is time for, by their place in the search's order."""
        known = self._known  # a trim meanwhile puts another one in its place
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        limit = asyncio.timeout_at(end)
        try:
            async with limit:
                [vector] = await self.embedder.embed([question], input_type="query")
        except TimeoutError:
            if not limit.expired():  # it is the embedder's own
                raise
            return {}
        missing = {hit.chunk.key: hit.chunk.text for hit in hits if hit.chunk.key not in known}
        await self._embed(missing, known, end)
        found = dict[int, float]()
        for at, key in enumerate(hit.chunk.key for hit in hits):
            if key in known:
                known.move_to_end(key)
                found[at] = float(known[key].astype(np.float32) @ vector)
        while len(known) > _REMEMBERED:
            known.popitem(last=False)
        return found

    async def _embed(self, texts: dict[str, str], known: dict[str, NDArray[np.float16]], end: float) -> None:
        """Embed one text, and then as many at once as the time that it took promises to be possible."""
        loop = asyncio.get_running_loop()
        waiting, count = iter(texts.items()), 1
        limit = asyncio.timeout_at(end)
        try:
            async with limit:
                while batch := list(itertools.islice(waiting, count)):
                    began = loop.time()
                    vectors = await self.embedder.embed([text for _, text in batch])
                    for (key, _), vector in zip(batch, vectors, strict=True):
                        known[key] = vector.astype(np.float16)
                    each = max(1e-6, (loop.time() - began) / len(batch))
                    count = max(1, int(_SHARE * (end - loop.time()) / each))
        except TimeoutError:
            if not limit.expired():
                raise
            log.debug("reranked_in_part")
