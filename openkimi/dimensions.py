"""Vectors with fewer numbers than their embedder made."""

from __future__ import annotations

import numpy as np

from openkimi.contracts import Vectors


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """Keep the first numbers of each row and bring it back to unit length; zeros stay zeros."""
    rows = vectors[:, :dimensions]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Vectors = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
