"""Weighs the sentences of a passage: in which of them does the answer stand?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from openkimi import Sentence
from openkimi_lancedb.parts import spans_of
from openkimi_lancedb.terms import Vocabulary

_SHARPNESS = 8.0
_EVENLY = 0.15
_NEIGHBOURS = 0.15


def weigh(
    text: str, cosines: Sequence[float], rarity: Mapping[str, float], vocabulary: Vocabulary
) -> tuple[Sentence, ...]:
    """Share out a passage's relevance among its sentences, by meaning and by the question's rare terms.

    ``cosines`` are those of the passage's parts, the whole first, or none. The shares are a softmax over the
    sum of both, with some of it for every sentence and for the neighbours of each, which may carry on.
    """
    spans = spans_of(text)
    if len(spans) == 1:
        return (Sentence(*spans[0], 1.0),)
    total = sum(rarity.values()) or 1.0
    has = [set(vocabulary.terms(text[start:end])) for start, end in spans]
    worth = np.array([sum(rarity[term] for term in rarity if term in terms) for terms in has]) / total
    if len(cosines) == len(spans) + 1:
        worth = worth + np.array(cosines[1:])
    shares = np.exp(_SHARPNESS * (worth - worth.max()))
    shares = (1 - _EVENLY) * shares / shares.sum() + _EVENLY / len(shares)
    shares = shares + _NEIGHBOURS * (np.append(shares[1:], 0) + np.insert(shares[:-1], 0, 0))
    shares /= shares.sum()
    return tuple(
        Sentence(start, end, float(share)) for (start, end), share in zip(spans, shares, strict=True)
    )
