"""When an answer is clear before all paths have been walked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from openkimi import Candidate
from openkimi_mpr.statements import statement_of
from openkimi_mpr.support import support_of
from openkimi_mpr.words import words_of

_FEW_WORDS = 3
"""Words of an answer that is to the point."""


def is_sure(candidate: Candidate, question: str) -> bool:
    """Tell whether one candidate alone is an answer to rely on.

    It is sure of its support and says nothing but the answer: one of many words may be said better.
    """
    if len(words_of(candidate.text)) > _FEW_WORDS:
        return False
    return support_of(candidate, statement_of(candidate, question), question).sure


def is_decided(
    groups: Sequence[Sequence[int]], weights: Sequence[float], left: int, electable: Collection[int]
) -> bool:
    """Tell whether a vote for one that is ``electable`` stands even if all that is left goes to another one.

    Each of those left is taken to weigh what the others do on average. Of equals the earliest wins. Stopping
    when the rest cannot change the outcome is what Adaptive-Consistency (Aggarwal et al., arXiv 2305.11860)
    does by probability.
    """
    totals = [sum(weights[at] for at in group) for group in groups]
    lead = max(range(len(groups)), key=lambda at: (totals[at], -min(groups[at])))
    if not {*groups[lead]} & {*electable}:
        return False
    coming = left * sum(weights) / len(weights)
    rivals = [(totals[at], min(groups[at])) for at in range(len(groups)) if at != lead]
    return all(
        totals[lead] > total + coming or (totals[lead] == total + coming and min(groups[lead]) < first)
        for total, first in [*rivals, (0.0, len(weights))]
    )
