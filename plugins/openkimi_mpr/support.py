"""Whether a candidate's answer stands in the passages it read."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi import Candidate
from openkimi_mpr.words import words_of

_NEUTRAL = 0.5


def support_of(candidate: Candidate, question: str) -> float:
    """Tell, from 0 to 1, how much of the answer stands in one passage that speaks of the question.

    Words of the question prove nothing when the answer repeats them. An answer that says nothing else, or
    one given without passages, counts half. Selecting by support, before agreement, is what helped small
    models most over relevant contexts; log-probability across contexts prefers confident nonsense.
    """
    asked = set(words_of(question))
    answer = set(words_of(candidate.text)) - asked
    if not candidate.text.strip():
        return 0.0
    if not answer or not candidate.context:
        return _NEUTRAL
    return max(_stands_in(answer, asked, words_of(hit.chunk.text)) for hit in candidate.context)


def _stands_in(answer: set[str], asked: set[str], passage: Sequence[str]) -> float:
    words = set(passage)
    found = len(answer & words) / len(answer)
    near = len(asked & words) / len(asked) if asked else 1.0
    return found * (0.7 + 0.3 * near)
