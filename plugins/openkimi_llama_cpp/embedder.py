"""The embedder: one model, and the thread in which texts become vectors, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

import numpy as np
import structlog

from openkimi import BackendError, BackendUnavailable, ConfigError, Embedder, OpenKimiError, Vectors
from openkimi_gguf.fetching import fetch
from openkimi_gguf.settling import settle
from openkimi_llama_cpp.embedder_options import LlamaCppEmbedderOptions, as_embedder
from openkimi_llama_cpp.encoder import MOST_SEQUENCES, Encoder
from openkimi_llama_cpp.loading import discard
from openkimi_llama_cpp.segments import Segment, batches, segments

T = TypeVar("T")

_log = structlog.get_logger("openkimi_llama_cpp")


@asynccontextmanager
async def open_embedder(options: LlamaCppEmbedderOptions) -> AsyncIterator[Embedder]:
    """Fetch the model if need be, load it, and free it in the end.

    Raises:
        ConfigError: the model cannot be had or loaded, or a prefix leaves no room for a text.
    """
    with as_embedder():
        path = await fetch(options.model_path)
        worker = ThreadPoolExecutor(1, "llama-cpp-embedder")
        loading = worker.submit(Encoder, path, options)
        try:
            encoder = await asyncio.wrap_future(loading)
            embedder = LlamaCppEmbedder(encoder, options, worker)
        except BaseException:
            worker.submit(discard, loading)
            worker.shutdown(wait=False)
            raise
    try:
        yield embedder
    finally:
        await embedder.close()


class LlamaCppEmbedder(Embedder):
    """Embeds with a model inside this process; calls take turns, a batch of each.

    A text longer than the model's window gets the mean of its parts, weighed by their lengths.
    """

    def __init__(
        self, encoder: Encoder, options: LlamaCppEmbedderOptions, worker: ThreadPoolExecutor
    ) -> None:
        """Set up for a loaded model.

        Raises:
            ConfigError: a prefix leaves less than half of the window for a text.
        """
        self._encoder = encoder
        self._options = options
        self._worker = worker
        self._closed = False
        for name, prefix in (("query", options.query_prefix), ("document", options.document_prefix)):
            if len(encoder.tokenize(prefix)) > encoder.window // 2:
                raise ConfigError(f"llm.{name}_prefix: it takes more than half of {encoder.window} tokens")

    @property
    def dimensions(self) -> int:
        """The length of the model's vectors."""
        return self._encoder.dimensions

    @property
    def fingerprint(self) -> str:
        """The model's file, how its tokens are pooled, what is put before texts and where they are cut."""
        return f"llama-cpp:{self._encoder.fingerprint}:{self.dimensions}"

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        """Embed texts; another call waits for the batch at hand and then has its turn.

        Raises:
            BackendError: llama.cpp failed, or the embedder was closed.
        """
        prefix = self._options.query_prefix if input_type == "query" else self._options.document_prefix
        run = _Run(self._encoder, texts, prefix)
        while await self._in_thread(run.step):
            pass
        return run.vectors

    async def close(self) -> None:
        """Fail the calls that wait, stop the batch at hand and free the model."""
        self._closed = True
        self._encoder.interrupt.set()
        await settle(asyncio.to_thread(self._free))

    def _free(self) -> None:
        self._worker.submit(self._encoder.close).result()
        self._worker.shutdown()

    async def _in_thread(self, step: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._worker.submit(self._unless_closed, step))
        except OpenKimiError:
            raise
        except Exception as error:
            if self._closed:
                raise BackendUnavailable("the embedder is closed") from error
            _log.debug("llama_cpp_failed", exc_info=error)
            raise BackendError(f"llama.cpp failed to embed: {type(error).__name__}") from error

    def _unless_closed(self, step: Callable[[], T]) -> T:
        if self._closed:
            raise BackendUnavailable("the embedder is closed")
        return step()


class _Run:
    """The embedding of some texts, one batch a step."""

    def __init__(self, encoder: Encoder, texts: Sequence[str], prefix: str) -> None:
        self._encoder = encoder
        self._texts = texts
        self._prefix = prefix
        self._batches = batches(self._segments(), tokens=encoder.n_batch, sequences=MOST_SEQUENCES)
        self.vectors: Vectors = np.zeros((len(texts), encoder.dimensions), np.float32)

    def step(self) -> bool:
        """Embed a batch; False when there was none left and the rows are of unit length."""
        batch = next(self._batches, None)
        if batch is None:
            self.vectors = _unit(self.vectors)
            return False
        rows = _unit(self._encoder.encode([part.tokens for part in batch]))
        for part, row in zip(batch, rows, strict=True):
            self.vectors[part.number] += part.weight * row
        return True

    def _segments(self) -> Iterator[Segment]:
        encoder = self._encoder
        head, tail = encoder.head, encoder.tail
        room = encoder.window - len(head) - len(tail)
        for number, text in enumerate(self._texts):
            if not text.strip():
                continue
            for part in self._parts(number, text, room):
                yield part._replace(tokens=[*head, *part.tokens, *tail])

    def _parts(self, number: int, text: str, room: int) -> Iterator[Segment]:
        """Give a text's parts; prefix and text are one text to the tokenizer where both have room."""
        encoder = self._encoder
        body = encoder.tokenize(text)
        if not body or not self._prefix:
            return segments(number, (), body, room)
        whole = encoder.tokenize(self._prefix + text)
        if len(whole) <= room:
            return segments(number, (), whole, room)
        return segments(number, encoder.tokenize(self._prefix), body, room)


def _unit(rows: Vectors) -> Vectors:
    """Bring rows to unit length; zeros stay zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Vectors = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
