"""Merges what several documents have for a question into one list of places, best first."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from openkimi_lancedb.ranking import fuse, lexical_weight, ranked
from openkimi_lancedb.searching import Findings

Place = tuple[int, int]
"""A document's number in the query, and a chunk's ordinal in it."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A place with its scores."""

    place: Place
    score: float
    lexical: float | None
    similarity: float | None


def merge(
    findings: Mapping[int, Findings], *, rrf_k: int, similarity_threshold: float | None
) -> list[Scored]:
    """Rank all lexical candidates by BM25, all dense ones by cosine, and fuse the two rankings.

    A candidate under the threshold that the words did not find is left out. Of equal ones the denser comes
    first, then the earlier.
    """

    def tie_break(place: Place) -> object:
        number, ordinal = place
        return -findings[number].densities[ordinal], number, ordinal

    lexical = _pooled({number: found.lexical for number, found in findings.items()})
    similarities = _pooled({number: found.similarities for number, found in findings.items()})
    near = {
        (number, ordinal): similarities[number, ordinal]
        for number, found in findings.items()
        for ordinal in found.nearest
    }
    weight = lexical_weight(max((found.covered for found in findings.values()), default=0.0))
    fused = fuse([(ranked(lexical, tie_break), weight), (ranked(near, tie_break), 1.0)], rrf_k)
    return [
        Scored(
            place=place, score=fused[place], lexical=lexical.get(place), similarity=similarities.get(place)
        )
        for place in ranked(fused, tie_break)
        if place in lexical or similarity_threshold is None or similarities[place] >= similarity_threshold
    ]


def _pooled(scores: Mapping[int, Mapping[int, float]]) -> dict[Place, float]:
    return {(number, ordinal): score for number, some in scores.items() for ordinal, score in some.items()}
