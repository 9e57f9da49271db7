"""How far candidates say the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from openkimi_mpr.statements import Statement

Alikeness = Sequence[Sequence[float]]
"""How alike each two candidates are, a symmetrical table."""


def alikeness(statements: Sequence[Statement]) -> list[list[float]]:
    """Compare each two statements."""
    return [[one.alike(other) for other in statements] for one in statements]


def mean_alikeness(table: Alikeness) -> float:
    """Average over the pairs; a single candidate agrees with itself."""
    pairs = [table[one][other] for one, other in combinations(range(len(table)), 2)]
    return sum(pairs) / len(pairs) if pairs else 1.0


def groups_of(statements: Sequence[Statement]) -> list[list[int]]:
    """Gather statements that agree, directly or through others, largest group first."""
    groups: list[list[int]] = []
    for at, statement in enumerate(statements):
        joined = [at]
        for group in list(groups):
            if any(statement.agrees(statements[other]) for other in group):
                groups.remove(group)
                joined = [*group, *joined]
        groups.append(joined)
    return sorted(groups, key=lambda group: (-len(group), min(group)))


def medoid(group: Sequence[int], table: Alikeness, weights: Sequence[float]) -> int:
    """Choose the member that is most like the others, each counted by its weight.

    Minimum Bayes risk decoding (Kumar and Byrne, 2004) with F1 as the gain.
    """

    def gain(at: int) -> float:
        return sum(weights[other] * table[at][other] for other in group)

    return max(group, key=lambda at: (round(gain(at), 9), weights[at], -at))
