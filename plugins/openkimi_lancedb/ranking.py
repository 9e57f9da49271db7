"""Joins what the words found and what the meaning found into one ranking; pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K")

Scores = NDArray[np.float64]

_REACH = 4
_WINDOW_WEIGHT = 0.8
_LEAST_WEIGHT, _MOST_WEIGHT = 0.3, 2.0
_CROWD = 10


def windowed(scores: Scores) -> Scores:
    """Add to each chunk's BM25 score 0.8 times the mean score of the chunks around it, four on each side.

    A passage among others that speak of the question's words is likelier to answer it than one alone. Chunks
    without a score get none.
    """
    if not len(scores):
        return scores
    window = np.ones(2 * _REACH + 1)
    around = np.convolve(scores, window)[_REACH:-_REACH] / len(window)
    return np.where(scores > 0, scores + _WINDOW_WEIGHT * around, 0.0)


def peak(scores: Sequence[float]) -> float:
    """Tell how far the best score stands out of the crowd, from 0 to 1: from the one ten places below.

    ``scores`` come best first. Of a question that names something, one passage has much more than the
    others; of one in other words than the text's, many passages have a little (query performance
    prediction: Shtok et al., "Predicting query performance by query-drift estimation", 2012).
    """
    if not scores:
        return 0.0
    return 1.0 - (scores[_CROWD] / scores[0] if len(scores) > _CROWD else 0.0)


def lexical_weight(covered: float, standing_out: float, known: float) -> float:
    """Weigh the lexical side against the dense one, which weighs 1.

    ``covered`` is the share of the question's rare terms that its best hit has, ``standing_out`` its
    :func:`peak`, ``known`` the share of the question's terms that occur in the text at all. Names, numbers
    and quoted words decide by words; a paraphrase covers little and stands out little, and of another
    language little is known: there meaning decides.
    """
    return _LEAST_WEIGHT + (_MOST_WEIGHT - _LEAST_WEIGHT) * max(covered, standing_out * known)


def ranked(scores: Mapping[K, float], tie_break: Callable[[K], object], limit: int | None = None) -> list[K]:
    """Order by score, best first; equal scores by the least ``tie_break``."""
    return sorted(scores, key=lambda key: (-scores[key], tie_break(key)))[:limit]


def best(scores: Scores, densities: Scores, limit: int) -> NDArray[np.intp]:
    """Return the ordinals of the best scores above 0, best first; of equal ones the denser, the earlier."""
    order = np.lexsort((-densities, -scores))[:limit]
    return order[scores[order] > 0]


def fuse(rankings: Sequence[tuple[Sequence[K], float]], k: int) -> dict[K, float]:
    """Score by weighted reciprocal rank fusion: the sum of ``weight / (k + rank)``.

    Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
    learning methods" (SIGIR 2009).
    """
    scores: dict[K, float] = {}
    for ranking, weight in rankings:
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + weight / (k + rank)
    return scores
