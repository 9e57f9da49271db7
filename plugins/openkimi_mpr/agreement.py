"""How far candidates say the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from openkimi import Candidate, ToolCall
from openkimi_mpr.words import f1, words_of

_ALIKE = 0.5
_NO_ANSWER_OF_ITS_OWN = frozenset({"yes", "no", "not", "none", "true", "false", "不", "是", "否", "没有"})

Alikeness = Sequence[Sequence[float]]
"""F1 of each two candidates, a symmetrical table with 1 on its diagonal."""


def alikeness(texts: Sequence[str]) -> list[list[float]]:
    """Compare each two texts by F1 of their words; the same content in JSON is the same text."""
    bags = [Counter(words_of(canonical(text))) for text in texts]
    return [[f1(one, other) for other in bags] for one in bags]


def mean_alikeness(table: Alikeness) -> float:
    """Average over the pairs; a single candidate agrees with itself."""
    pairs = [table[one][other] for one, other in combinations(range(len(table)), 2)]
    return sum(pairs) / len(pairs) if pairs else 1.0


def groups_of(texts: Sequence[str], table: Alikeness) -> list[list[int]]:
    """Gather texts that agree, directly or through others, largest group first.

    Two agree when half of their words are common, or when one is a short answer that the other contains.
    """
    words = [words_of(canonical(text)) for text in texts]
    groups: list[list[int]] = []
    for at in range(len(texts)):
        joined = [at]
        for group in list(groups):
            if any(table[at][other] >= _ALIKE or _contains(words[at], words[other]) for other in group):
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


def canonical(text: str) -> str:
    """Write JSON objects and arrays in one way; other text stays as it is."""
    parsed = parse_json(text)
    return text if parsed is None else json.dumps(parsed, sort_keys=True, ensure_ascii=False)


def parse_json(text: str) -> object | None:
    """Read a text that is a JSON object or array, None for any other."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        parsed: object = json.loads(text)
    except ValueError:
        return None
    return parsed


def signature(calls: Sequence[ToolCall]) -> tuple[tuple[str, str], ...]:
    """Tell tool calls apart by name and arguments, however those are written."""
    return tuple((call.name, canonical(call.arguments)) for call in calls)


def most_common_kind(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep those that make the most frequent tool calls, or that answer in text; ties go to the earliest."""
    kinds: dict[tuple[tuple[str, str], ...], list[Candidate]] = {}
    for candidate in candidates:
        kinds.setdefault(signature(candidate.tool_calls), []).append(candidate)
    return max(kinds.values(), key=len)


def _contains(one: Sequence[str], other: Sequence[str]) -> bool:
    short, long = sorted((list(one), list(other)), key=len)
    if not short or not set(short) - _NO_ANSWER_OF_ITS_OWN:
        return False
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))
