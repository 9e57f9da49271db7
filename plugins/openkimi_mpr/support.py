"""Whether a candidate's answer stands in the passages it read."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi import Candidate, find_support
from openkimi_mpr.statements import conclusion_of, parse_json
from openkimi_mpr.words import tokens_of, words_of

_NEUTRAL = 0.5
_SAME_LANGUAGE = 1 / 3
_MOST_CLAIMS = 0.5


def support_of(candidate: Candidate, question: str) -> float:
    """Tell, from 0 to 1, how much of the answer stands in one passage that speaks of the question.

    Words of the question prove nothing when the answer repeats them. An answer that says nothing else, or
    one given without passages, counts half. Selecting by support, before agreement, is what helped small
    models most over relevant contexts; log-probability across contexts prefers confident nonsense.
    """
    asked = set(words_of(question))
    text = conclusion_of(candidate.text)
    answer = set(words_of(text)) - asked
    if not text.strip():
        return 0.0
    if not answer or not candidate.context:
        return _NEUTRAL
    return max(_stands_in(answer, asked, words_of(hit.chunk.text)) for hit in candidate.context)


def is_borne_out(candidate: Candidate, question: str) -> bool | None:
    """Tell whether at least half of what an answer claims stands in what was read.

    None where words cannot tell: nothing was read, it is in another language, or the answer makes no claim
    in words, as a bare yes, a tool call or JSON.
    """
    if not candidate.context or candidate.tool_calls or parse_json(candidate.text) is not None:
        return None
    passages = [hit.chunk.text for hit in candidate.context]
    claims = find_support(candidate.text, passages, question=question)
    if not claims:
        return None
    if sum(bool(claim.evidence) for claim in claims) >= _MOST_CLAIMS * len(claims):
        return True
    return False if _share_language(f"{question} {candidate.text}", passages) else None


def _share_language(text: str, passages: Sequence[str]) -> bool:
    """Tell whether a good part of a text's words, those without meaning above all, stand in passages."""
    words = set(tokens_of(text))
    read = {word for passage in passages for word in tokens_of(passage)}
    return len(words & read) >= _SAME_LANGUAGE * len(words)


def _stands_in(answer: set[str], asked: set[str], passage: Sequence[str]) -> float:
    words = set(passage)
    found = len(answer & words) / len(answer)
    near = len(asked & words) / len(asked) if asked else 1.0
    return found * (0.7 + 0.3 * near)
