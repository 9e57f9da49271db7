"""Density by meaning: how far a passage is from those around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openkimi import Embedder, Vectors

_BATCH = 256
_NEAR = 2


async def embed_passages(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Embed texts a few hundred at a time, so that a cancelled call stops soon."""
    vectors = np.zeros((len(texts), embedder.dimensions), dtype=np.float32)
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        vectors[start : start + len(batch)] = await embedder.embed(batch, input_type="document")
    return vectors


def semantic_density(vectors: Vectors) -> list[float]:
    """Score passages by one less the cosine between each and the mean of up to two on either side.

    A passage that is like its neighbours carries on their subject and adds little; the borders of subjects
    stand out (lexical cohesion: Hearst, "TextTiling", 1997). A text of one passage scores 1, one without a
    vector 0.
    """
    around = np.zeros_like(vectors)
    for step in range(1, min(_NEAR, len(vectors) - 1) + 1):
        around[step:] += vectors[:-step]
        around[:-step] += vectors[step:]
    norms = np.linalg.norm(around, axis=1)
    cosines = np.einsum("ij,ij->i", vectors, around) / np.where(norms > 0, norms, 1)
    present = np.linalg.norm(vectors, axis=1) > 0
    return [float(score) for score in np.where(present, np.clip(1 - cosines, 0, 1), 0)]
