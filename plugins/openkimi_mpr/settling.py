"""When an answer is clear before all paths have been walked."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi import Candidate, find_support
from openkimi_mpr.statements import parse_json, statement_of

_SHORT = 12
"""Words beyond the question's up to which an answer is specific enough to be judged by itself."""
_SURE = 0.5


def is_sure(candidate: Candidate, question: str) -> bool:
    """Tell whether one candidate alone is an answer to rely on.

    It ended by itself, is short, says something that the question does not, and a sentence that has to do
    with the question has all of that.
    """
    if candidate.tool_calls or candidate.finish_reason != "stop" or parse_json(candidate.text) is not None:
        return False
    statement = statement_of(candidate, question)
    if statement.declines or statement.verdict is not None or len(statement.words) > _SHORT:
        return False
    claims = find_support(candidate.text, [hit.chunk.text for hit in candidate.context], question=question)
    return bool(claims) and all(claim.evidence and claim.evidence[0].score >= _SURE for claim in claims)


def is_decided(groups: Sequence[Sequence[int]], weights: Sequence[float], left: int) -> bool:
    """Tell whether a vote stands even if all paths that are left speak for one other answer.

    Each of them is taken to weigh what the others do on average. Of equals the earliest wins. Stopping when
    the rest cannot change the outcome is what Adaptive-Consistency (Aggarwal et al., arXiv 2305.11860) does
    by probability.
    """
    totals = [sum(weights[at] for at in group) for group in groups]
    lead = max(range(len(groups)), key=lambda at: (totals[at], -min(groups[at])))
    coming = left * sum(weights) / len(weights)
    rivals = [(totals[at], min(groups[at])) for at in range(len(groups)) if at != lead]
    return all(
        totals[lead] > total + coming or (totals[lead] == total + coming and min(groups[lead]) < first)
        for total, first in [*rivals, (0.0, len(weights))]
    )
