"""The embedder: encodes batches in one thread, queries first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from openkimi import Embedder, Vectors
from openkimi_use.batches import batches
from openkimi_use.worker import Urgency, Worker

Encode = Callable[[list[str]], Vectors]

DIMENSIONS = 512
_PIECING = "pieces-1"
_FEW = 16
_CACHED = 64
_LONGEST_CACHED = 4_096


class UseEmbedder(Embedder):
    """Multilingual Universal Sentence Encoder v3 (Yang et al., arXiv 1907.04307) with 512 dimensions.

    ``encode`` turns texts that are not empty into an array ``(n, 512)``; it is called in the worker's thread
    alone. ``version`` is that of the weights. A text of more than 2,000 characters gets the mean of its
    pieces, weighed by their lengths.
    """

    def __init__(self, encode: Encode, worker: Worker, *, version: str) -> None:
        self._encode = encode
        self._worker = worker
        self._version = version
        self._cache: OrderedDict[str, Vectors] = OrderedDict()

    @property
    def dimensions(self) -> int:
        """512."""
        return DIMENSIONS

    @property
    def fingerprint(self) -> str:
        """The encoder, its version and how long texts are cut."""
        return f"use-multilingual-v3:{self._version}:{_PIECING}:{DIMENSIONS}"

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        """Embed texts; a query waits for one batch of documents at most, and a few of them pass by many."""
        if input_type == "document":
            return await self._run(texts, Urgency.FEW if len(texts) <= _FEW else Urgency.DOCUMENT)
        found = {text: self._cache[text] for text in texts if text in self._cache}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            found.update(zip(missing, await self._run(missing, Urgency.QUERY), strict=True))
        rows = [found[text] for text in texts]
        self._remember(texts, rows)
        return np.array(rows, dtype=np.float32).reshape(len(texts), DIMENSIONS)

    async def trim(self) -> None:
        """Forget the vectors of the last questions."""
        self._cache.clear()

    async def _run(self, texts: Sequence[str], urgency: Urgency) -> Vectors:
        """Queue one batch after the other, so that others get their turn in between."""
        run = _Run(self._encode, texts)
        while await asyncio.wrap_future(self._worker.submit(urgency, run.step)):
            pass
        return run.vectors

    def _remember(self, texts: Sequence[str], rows: Sequence[Vectors]) -> None:
        for text, row in zip(texts, rows, strict=True):
            if len(text) <= _LONGEST_CACHED:
                self._cache[text] = row
                self._cache.move_to_end(text)
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)


class _Run:
    """The embedding of some texts, one batch a step."""

    def __init__(self, encode: Encode, texts: Sequence[str]) -> None:
        self._encode = encode
        self._batches = batches(texts)
        self.vectors: Vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)

    def step(self) -> bool:
        """Encode a batch; False when there was none left and the vectors are of unit length."""
        batch = next(self._batches, None)
        if batch is None:
            norms = np.linalg.norm(self.vectors, axis=1, keepdims=True)
            np.divide(self.vectors, norms, out=self.vectors, where=norms > 0)
            return False
        encoded = self._encode([piece.text for piece in batch])
        for piece, vector in zip(batch, encoded, strict=True):
            self.vectors[piece.number] += piece.weight * vector
        return True
