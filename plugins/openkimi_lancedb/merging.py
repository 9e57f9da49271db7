"""Merges what the words and the meaning found in several documents into one list, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from openkimi_lancedb.lexical import Lexical, Place
from openkimi_lancedb.meaning import Meaning
from openkimi_lancedb.ranking import Scores, fuse, ranked


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A place with its scores."""

    place: Place
    score: float
    lexical: float | None
    similarity: float | None


def merge(
    lexical: Lexical,
    meaning: Mapping[int, Meaning],
    densities: Mapping[int, Scores],
    *,
    rrf_k: int,
    similarity_threshold: float | None,
) -> Sequence[Scored]:
    """Rank all lexical candidates by BM25, all dense ones by cosine, and fuse the two rankings.

    A candidate under the threshold that the words did not find is left out. Of equal ones the denser comes
    first, then the earlier.
    """

    def tie_break(place: Place) -> object:
        number, ordinal = place
        return -densities[number][ordinal], number, ordinal

    words = _pooled(lexical.scores)
    similarities = _pooled({number: found.similarities for number, found in meaning.items()})
    near = {
        (number, ordinal): similarities[number, ordinal]
        for number, found in meaning.items()
        for ordinal in found.nearest
    }
    fused = fuse([(ranked(words, tie_break), lexical.weight), (ranked(near, tie_break), 1.0)], rrf_k)
    return [
        Scored(place=place, score=fused[place], lexical=words.get(place), similarity=similarities.get(place))
        for place in ranked(fused, tie_break)
        if place in words or similarity_threshold is None or similarities[place] >= similarity_threshold
    ]


def _pooled(scores: Mapping[int, Mapping[int, float]]) -> dict[Place, float]:
    return {(number, ordinal): score for number, some in scores.items() for ordinal, score in some.items()}
