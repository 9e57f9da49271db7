"""Candidates as voters: who agrees with whom, and whom the text bears out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from openkimi import Candidate
from openkimi_mpr.agreement import Alikeness, alikeness, groups_of, mean_alikeness
from openkimi_mpr.statements import Statement, has_ended, parse_json, signature, statement_of
from openkimi_mpr.support import Support, support_of
from openkimi_mpr.words import words_of

_LONG = 40
_LEAST_WEIGHT = 0.25


class Ballot:
    """The candidates that answer a question, and those among them that can be chosen.

    ``voters`` are the candidates of the most frequent kind that say something, valid JSON where there is
    any, and only those that came to an end where one did: a small model is apt to repeat itself until it is
    cut off. ``table``, ``groups`` and ``supports`` are of them, by their places among them. While more
    candidates may come it is ``open``: those that were cut off vote too, for what they began to say.
    """

    def __init__(self, question: str, candidates: Sequence[Candidate], *, open: bool = False) -> None:
        self.question = question
        self.candidates = candidates
        comparable = _comparable(candidates)
        self.voters = comparable if open else _ended(comparable)

    @property
    def electable(self) -> frozenset[int]:
        """The voters, by their places, that can be chosen once no more come."""
        return frozenset(map(self.voters.index, _ended(self.voters)))

    @cached_property
    def statements(self) -> list[Statement]:
        """What each voter states."""
        return [statement_of(voter, self.question) for voter in self.voters]

    @cached_property
    def table(self) -> Alikeness:
        """How alike each two voters are."""
        return alikeness(self.statements)

    @cached_property
    def groups(self) -> list[list[int]]:
        """The voters that agree, the largest group first."""
        return groups_of(self.statements)

    @cached_property
    def supports(self) -> list[Support]:
        """How far what each voter read bears out what it says."""
        return [
            support_of(voter, statement, self.question)
            for voter, statement in zip(self.voters, self.statements, strict=True)
        ]

    @property
    def weights(self) -> list[float]:
        """What each voter counts: one that is sure as much as four that are not."""
        return [1.0 if support.sure else _LEAST_WEIGHT for support in self.supports]

    @property
    def agreement(self) -> float:
        """How alike all candidates are, on average over the pairs."""
        return mean_alikeness(alikeness([statement_of(each, self.question) for each in self.candidates]))

    def group_of(self, voter: int) -> list[int]:
        """Return the voters that agree with one, itself included."""
        return next(group for group in self.groups if voter in group)

    def said_by_most(self, group: Sequence[int]) -> set[str]:
        """Return the words that more than half of some voters have in common."""
        counts = Counter(word for at in group for word in {*self.statements[at].words})
        return {word for word, count in counts.items() if count > len(group) / 2}

    def dissenting(self, voter: int) -> tuple[int, ...]:
        """List the candidates, by index, that say something and something else than a voter does.

        Those that have no vote, as they were cut off, may say the same.
        """
        group = self.group_of(voter)
        said = [self.statements[at] for at in group]
        voting = {each.index for each in self.voters}
        agreeing = {self.voters[at].index for at in group} | {
            each.index
            for each in self.candidates
            if each.index not in voting and any(map(statement_of(each, self.question).agrees, said))
        }
        return tuple(each.index for each in self.candidates if each.index not in agreeing and _speaks(each))

    def bears_out(self, voter: int) -> bool | None:
        """Tell whether what was read bears a voter's answer out.

        It does not where the answer itself says so, or where no more than half of them, all short, agree and
        none is borne out. What most say alike, or says much, may be said in other words.
        """
        if self.statements[voter].declines:
            return False if self.voters[voter].context else None
        if self.supports[voter].is_borne_out:
            return True
        apart = len(self.groups[0]) <= len(self.voters) / 2
        return False if apart and self.is_unsupported else None

    @property
    def is_unsupported(self) -> bool:
        """Whether short answers were given and what was read bears none of them out, as far as words tell."""
        return {support.is_borne_out for support in self.supports} == {False} and not any(
            map(is_long, self.voters)
        )


def is_long(candidate: Candidate) -> bool:
    """Tell prose from tool calls, JSON (cut off or not) and short answers."""
    if candidate.tool_calls or candidate.text.lstrip().startswith(("{", "[", "```")):
        return False
    return len(words_of(candidate.text)) >= _LONG


def _comparable(candidates: Sequence[Candidate]) -> list[Candidate]:
    speaking = [candidate for candidate in candidates if _speaks(candidate)]
    voters = _most_frequent_kind(speaking or candidates)
    structured = [candidate for candidate in voters if parse_json(candidate.text) is not None]
    return structured or voters


def _ended(candidates: list[Candidate]) -> list[Candidate]:
    """Keep those that came to an end, all where none did."""
    return list(filter(has_ended, candidates)) or candidates


def _speaks(candidate: Candidate) -> bool:
    return bool(candidate.tool_calls or candidate.text.strip())


def _most_frequent_kind(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep those that make the most frequent tool calls, or that answer in text; ties go to the earliest."""
    kinds: dict[tuple[tuple[str, str], ...], list[Candidate]] = {}
    for candidate in candidates:
        kinds.setdefault(signature(candidate.tool_calls), []).append(candidate)
    return max(kinds.values(), key=len)
