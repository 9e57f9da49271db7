"""Joins what the words found and what the meaning found into one ranking; pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K")

_REACH = 4
_WINDOW = 2 * _REACH + 1
_WINDOW_WEIGHT = 0.8
_LEAST_WEIGHT, _MOST_WEIGHT = 0.3, 2.0


def windowed(scores: Mapping[int, float]) -> dict[int, float]:
    """Add to each chunk's BM25 score 0.8 times the mean score of the chunks around it, four on each side.

    A passage among others that speak of the question's words is likelier to answer it than one alone.
    """
    return {
        ordinal: score
        + _WINDOW_WEIGHT
        * sum(scores.get(near, 0.0) for near in range(ordinal - _REACH, ordinal + _REACH + 1))
        / _WINDOW
        for ordinal, score in scores.items()
    }


def coverage(terms: Sequence[str], best_first: Sequence[Collection[str]], chunks: int) -> float:
    """Tell how much of a question's rare terms the best lexical hit has, from 0 to 1.

    ``best_first`` are the terms of the best hits, among which the frequency of a term is estimated;
    ``chunks`` is how many there are in all. Terms weigh as in BM25 (Robertson and Zaragoza, 2009).
    """
    if not best_first:
        return 0.0
    found = {term: sum(term in hit for hit in best_first) for term in terms}
    weights = {
        term: math.log(1 + (max(chunks, count) - count + 0.5) / (count + 0.5))
        for term, count in found.items()
    }
    return sum(weights[term] for term in terms if term in best_first[0]) / sum(weights.values())


def lexical_weight(covered: float) -> float:
    """Weigh the lexical side against the dense one, which weighs 1, by :func:`coverage`.

    Names, numbers and quoted words cover nearly all of their question and words decide; a paraphrase or
    another language covers little of it and meaning decides.
    """
    return _LEAST_WEIGHT + (_MOST_WEIGHT - _LEAST_WEIGHT) * covered


def ranked(scores: Mapping[K, float], tie_break: Callable[[K], object], limit: int | None = None) -> list[K]:
    """Order by score, best first; equal scores by the least ``tie_break``."""
    return sorted(scores, key=lambda key: (-scores[key], tie_break(key)))[:limit]


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
