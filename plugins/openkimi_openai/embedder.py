"""The embedder that asks an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np

from openkimi import BackendError, Embedder, Vectors
from openkimi_openai.client import Client
from openkimi_openai.options import OpenAIEmbedderOptions

PROBE = "dimensions"


class _Item(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]


class OpenAIEmbedder(Embedder):
    """Embeds through ``/embeddings``, several batches at a time."""

    def __init__(self, client: Client, options: OpenAIEmbedderOptions) -> None:
        self._client = client
        self._options = options
        self._dimensions = options.dimensions

    async def probe(self) -> None:
        """Find out the length of the model's vectors where the options do not say it.

        Raises:
            BackendError: the server does not answer as it should.
        """
        if self._dimensions is None:
            self._dimensions = (await self._embed_batch([PROBE])).shape[1]

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        assert self._dimensions is not None, "probe() comes first"
        return self._dimensions

    @property
    def fingerprint(self) -> str:
        """The server, the model and the length of its vectors."""
        host = urlsplit(self._client.address.url).netloc
        return f"openai:{host}:{self._options.model_name}:{self.dimensions}"

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        """Embed texts; the interface has no input types, so queries and documents are treated alike.

        Raises:
            BackendError: the server failed, or its vectors have another length than expected.
        """
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        wanted = [at for at, text in enumerate(texts) if text.strip()]
        batches = list(_batches(wanted, self._options.batch_size))
        found = await _gather([self._embed_batch([texts[at] for at in batch]) for batch in batches])
        for batch, vectors in zip(batches, found, strict=True):
            rows[batch] = vectors
        return rows

    async def _embed_batch(self, texts: list[str]) -> Vectors:
        payload: dict[str, Any] = {
            "model": self._options.model_name,
            "input": [text.encode("utf-8", "replace").decode() for text in texts],
            "encoding_format": self._options.encoding_format,
        }
        if self._options.dimensions is not None:
            payload["dimensions"] = self._options.dimensions
        body = await self._client.post_json("embeddings", payload)
        vectors = await asyncio.to_thread(self._decode, body, len(texts))
        if self._dimensions not in (None, vectors.shape[1]):
            raise BackendError(
                f"{self._client.host} sent vectors of {vectors.shape[1]} numbers, expected "
                f"{self._dimensions}; check embedder.dimensions"
            )
        return vectors

    def _decode(self, body: bytes, expected: int) -> Vectors:
        try:
            items = msgspec.json.decode(body, type=_Answer).data
            numbered = sorted((at if item.index is None else item.index, at) for at, item in enumerate(items))
            if [number for number, _ in numbered] != list(range(expected)):
                raise ValueError("not one vector for each text")
            vectors = np.array([_vector(items[at].embedding) for _, at in numbered], dtype=np.float32)
            if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
                raise ValueError("not vectors of numbers")
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            host = self._client.host
            raise BackendError(f"{host} sent what is no list of {expected} embeddings") from error
        return _normalised(vectors)


def _vector(embedding: list[float] | str) -> Vectors:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.array(embedding, dtype=np.float32)


def _normalised(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return rows


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def _gather(calls: Sequence[Any]) -> list[Vectors]:
    """Run the calls together; the first that fails stops the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
