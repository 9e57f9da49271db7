"""Searches the documents in scope by their words, as one collection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.postings import hash_of
from openkimi_lancedb.ranking import Scores, best, lexical_weight, peak, windowed

_K1, _B = 1.2, 0.75
_CANDIDATES = 200

Place = tuple[int, int]
"""A document's number in the query, and a chunk's ordinal in it."""


class Lexical(msgspec.Struct, frozen=True, kw_only=True):
    """What the words found: BM25 scores of the best chunks of each document, by ordinal.

    ``rarity`` weighs the question's terms (inverse document frequency), those that occur nowhere included.
    ``weight`` says how far the words are to be trusted.
    """

    scores: Mapping[int, Mapping[int, float]]
    rarity: Mapping[str, float]
    weight: float

    @property
    def is_telling(self) -> bool:
        """Whether the words weigh more than the meaning: what they found will do for a start."""
        return self.weight > 1.0


def search_words(tables: Mapping[int, ChunkTable], terms: Sequence[str]) -> Lexical:
    """Score the chunks of several documents by BM25 over all of them together.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). ``tables`` are
    known by the documents' numbers in the query; other documents have no say in the scores.
    """
    hashes = {term: hash_of(term) for term in terms}
    found = {
        number: {term: table.postings.find(hashed) for term, hashed in hashes.items()}
        for number, table in tables.items()
    }
    chunks = sum(len(table.densities) for table in tables.values())
    mean = sum(float(table.postings.lengths.sum()) for table in tables.values()) / max(1, chunks)
    counts = {term: sum(len(each[term][0]) for each in found.values()) for term in terms}
    rarity = {
        term: math.log(1 + (max(chunks, count) - count + 0.5) / (count + 0.5))
        for term, count in counts.items()
    }
    scores: dict[int, dict[int, float]] = {}
    for number, table in tables.items():
        summed = np.zeros(len(table.densities))
        damping = _K1 * (1 - _B + _B * table.postings.lengths / (mean or 1))
        for term, (ordinals, times) in found[number].items():
            summed[ordinals] += rarity[term] * times * (_K1 + 1) / (times + damping[ordinals])
        scores[number] = _best(windowed(summed), table)
    covered, standing_out = _judge(scores, found, rarity)
    known = sum(count > 0 for count in counts.values()) / max(1, len(counts))
    return Lexical(scores=scores, rarity=rarity, weight=lexical_weight(covered, standing_out, known))


def _best(scores: Scores, table: ChunkTable) -> dict[int, float]:
    order = best(scores, table.densities, _CANDIDATES)
    return dict(zip(order.tolist(), scores[order].tolist(), strict=True))


def _judge(
    scores: Mapping[int, Mapping[int, float]],
    found: Mapping[int, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    rarity: Mapping[str, float],
) -> tuple[float, float]:
    """Tell how much of the question's rare terms the best chunk has, and how far it stands out."""
    places = [(score, (number, at)) for number, some in scores.items() for at, score in some.items()]
    if not places:
        return 0.0, 0.0
    _, (number, ordinal) = max(places, key=lambda each: each[0])
    has = sum(weight for term, weight in rarity.items() if ordinal in found[number][term][0])
    return has / sum(rarity.values()), peak(sorted((score for score, _ in places), reverse=True))
