"""An embedder that needs no model: texts that share words are near each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from openkimi.contracts import Embedder, Vectors

_TERM = re.compile(r"[^\W\d_]+|\d+|\S")


class HashingEmbedder(Embedder):
    """Hashes each word, or each character of scripts without spaces, into one of ``dimensions`` places.

    The hashing trick (Weinberger et al., arXiv 0902.2206), deterministic on every machine. ``embedded``
    lists every text it was asked for, so that a test can tell what was done twice.
    """

    def __init__(self, dimensions: int = 64) -> None:
        self._dimensions = dimensions
        self.embedded: list[str] = []

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return self._dimensions

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        """Embed texts as rows of unit length; a text without words gets zeros."""
        if input_type == "document":
            self.embedded.extend(texts)
        rows = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for term in _terms(text):
                digest = hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest()
                place = int.from_bytes(digest, "little")
                row[place % self._dimensions] += 1 if place >> 63 else -1
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(norms == 0, 1, norms)
        return rows


def _terms(text: str) -> list[str]:
    terms: list[str] = []
    for word in _TERM.findall(text.lower()):
        terms.extend([word] if word.isascii() else word)
    return terms
