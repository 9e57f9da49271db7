"""Density by surprisal: how rare the parts of a passage are in its document, after Shannon (1948).

The surprisal of a part that makes up the share p of a document is -log2 p. Its mean over a passage is
divided by that of a part that occurs once, the largest there is, which gives 1 for a passage of which
nothing occurs elsewhere. CJK text is counted apart from the rest, so that the finer cut of one script does
not make it look denser than the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openkimi_entropy.chunking import Passage
from openkimi_entropy.lines import Check
from openkimi_entropy.scripts import terms

_BUCKETS = 1 << 20
_FIRST_CJK = 0x2E80
_FACTORS = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)


def word_density(text: str, passages: Sequence[Passage], check: Check) -> list[float]:
    """Score passages by the surprisal of their terms: words, and single signs and pairs in CJK text."""
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for passage in passages:
        check()
        for term, cjk in terms(text[passage.start : passage.end]):
            counts[cjk][term] += 1
    ceilings = tuple(math.log2(table.total() + 1) for table in counts)
    scores = []
    for passage in passages:
        check()
        found = list(terms(text[passage.start : passage.end]))
        total = sum(1 - math.log2(counts[cjk][term]) / ceilings[cjk] for term, cjk in found)
        scores.append(_clipped(total / len(found)) if found else 0.0)
    return scores


def ngram_density(text: str, passages: Sequence[Passage], check: Check) -> list[float]:
    """Score passages by the surprisal of their character trigrams, pairs of signs in CJK text.

    They are counted in hashed buckets (Weinberger et al., "Feature Hashing", 2009).
    """
    counts = np.zeros((2, _BUCKETS), dtype=np.int64)
    for passage in passages:
        check()
        cjk, buckets = _ngrams(text[passage.start : passage.end])
        np.add.at(counts, (cjk, buckets), 1)
    ceilings = np.log2(counts.sum(axis=1) + 2)
    scores = []
    for passage in passages:
        check()
        cjk, buckets = _ngrams(text[passage.start : passage.end])
        shares = 1 - np.log2(counts[cjk, buckets]) / ceilings[cjk]
        scores.append(_clipped(float(shares.mean())) if len(shares) else 0.0)
    return scores


def _ngrams(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hash each run of three characters, or pair of CJK signs, with whether it is CJK."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "replace"), dtype="<u4").astype(np.uint64)
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    cjk = third >= _FIRST_CJK
    mixed = second * np.uint64(_FACTORS[1]) + third * np.uint64(_FACTORS[2])
    mixed = mixed + np.where(cjk, np.uint64(0), first * np.uint64(_FACTORS[0]))
    return cjk.astype(np.int64), (mixed >> np.uint64(44)).astype(np.int64)


def _clipped(score: float) -> float:
    return min(1.0, max(0.0, score))
