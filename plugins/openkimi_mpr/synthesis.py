"""One answer of several candidates, by choosing.

Small models lose more by merging texts than they gain: the best synthesis measured is selection. What helps
to select is whether an answer stands in what its path read, then how many agree; the model's own probability
across contexts prefers confident nonsense. Votes alone do not help long-context questions much
(arXiv 2411.01101).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence

from openkimi import Candidate, Generate, Synthesis, Synthesizer
from openkimi_mpr.agreement import medoid
from openkimi_mpr.ballot import Ballot, is_long
from openkimi_mpr.consensus import shares_of
from openkimi_mpr.replaying import replayed, written
from openkimi_mpr.settling import is_decided, is_sure
from openkimi_mpr.words import words_of

_ENOUGH_DRAFTS = 3


class ChoosingSynthesizer(Synthesizer):
    """Chooses one candidate as it is; subclasses say which."""

    @abstractmethod
    def choose(self, ballot: Ballot) -> int:
        """Return the place of the chosen one among the voters."""

    def weigh(self, ballot: Ballot) -> list[float]:
        """Tell what each voter counts when the vote is decided early, all the same unless overridden."""
        return [1.0] * len(ballot.voters)

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        """Choose, in a thread."""
        return await asyncio.to_thread(self._synthesize, Ballot(question, candidates))

    def settled(self, question: str, candidates: Sequence[Candidate], paths: int) -> bool:
        """Tell whether the first is sure, or more of them decide the vote.

        Candidates without a vote, such as empty ones, count as paths that are left do: a single answer among
        them is no agreement. One that was cut off agrees with what begins as it does.
        """
        if len(candidates) >= paths:
            return True
        if len(candidates) == 1:
            return is_sure(candidates[0], question)
        ballot = Ballot(question, candidates, open=True)
        left = paths - len(ballot.voters)
        if len(ballot.groups) == 1:
            return len(ballot.voters) >= left
        return is_decided(ballot.groups, self.weigh(ballot), left, ballot.electable)

    def _synthesize(self, ballot: Ballot) -> Synthesis:
        chosen = self.choose(ballot)
        return Synthesis(
            answer=replayed(ballot.voters[chosen]),
            chosen=ballot.voters[chosen].index,
            agreement=ballot.agreement,
            dissenting=ballot.dissenting(chosen),
            supported=ballot.bears_out(chosen),
        )


class MajoritySynthesizer(ChoosingSynthesizer):
    """Chooses the candidate that is most like all others.

    Self-consistency (Wang et al., arXiv 2203.11171) for free text: the medoid under F1 takes the place of the
    vote. What a candidate read does not count.
    """

    def choose(self, ballot: Ballot) -> int:
        """Choose by agreement only."""
        return medoid(range(len(ballot.voters)), ballot.table, [1.0] * len(ballot.voters))


class WeightedSynthesizer(ChoosingSynthesizer):
    """Chooses the candidate that is most like all others, each counted by its support.

    Weighted majority voting (Li et al., "Making language models better reasoners with step-aware verifier",
    arXiv 2206.02336), with the words of the passages in place of a verifier.
    """

    def weigh(self, ballot: Ballot) -> list[float]:
        """Count each by its support."""
        return ballot.weights

    def choose(self, ballot: Ballot) -> int:
        """Choose by agreement, weighted."""
        return medoid(range(len(ballot.voters)), ballot.table, ballot.weights)


class SupportSynthesizer(ChoosingSynthesizer):
    """Chooses the candidate that its passages bear out best, and of equals the one most like the others.

    Support ranks answers by how likely they are right where the model's own probability does not: a right
    answer stands near the question's words in what was read. One that is sure goes before one that is not,
    then the share of its claims with evidence counts.
    """

    def weigh(self, ballot: Ballot) -> list[float]:
        """Count each by its support."""
        return ballot.weights

    def choose(self, ballot: Ballot) -> int:
        """Choose by support, then by agreement."""

        def value(at: int) -> tuple[bool, float, float, int]:
            support = ballot.supports[at]
            return support.sure, support.share or 0.0, round(sum(ballot.table[at]), 6), -at

        return max(range(len(ballot.voters)), key=value)


class ConsensusSynthesizer(ChoosingSynthesizer):
    """Chooses the candidate that says most of what more than half of all say, and least else.

    Each claim of a candidate counts by the share of candidates that make it, less one half, so that the sum
    is largest where most is likely right and least is likely wrong: Atomic Self-Consistency
    (Thirukovalluru et al., arXiv 2405.13131), choosing where that merges.
    """

    def choose(self, ballot: Ballot) -> int:
        """Choose by the claims that are shared."""
        scores = [sum(share - 0.5 for share in shares) for shares in shares_of(ballot)]
        return max(range(len(scores)), key=lambda at: (round(scores[at], 9), ballot.weights[at], -at))


class HierarchicalSynthesizer(ChoosingSynthesizer):
    """Groups the candidates that agree, chooses the weightiest group, and one of its members.

    Each member counts by its support, a sure one as much as four others. Of sure members that have what
    most of the group say, the shortest is taken, which adds least to it; where there is none, the medoid.
    The model writes a new text only from at least three long drafts of which no two agree.
    """

    def weigh(self, ballot: Ballot) -> list[float]:
        """Count each by its support."""
        return ballot.weights

    def choose(self, ballot: Ballot) -> int:
        """Choose by agreement and support."""
        weights = ballot.weights
        best = max(ballot.groups, key=lambda group: (sum(weights[at] for at in group), -min(group)))
        common = ballot.said_by_most(best)
        whole = [at for at in best if ballot.supports[at].sure and common <= {*ballot.statements[at].words}]
        if not whole:
            return medoid(best, ballot.table, weights)
        return min(whole, key=lambda at: (len(words_of(ballot.voters[at].text)), at))

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        """Choose, or have disagreeing long drafts written into one."""
        ballot = Ballot(question, candidates)
        synthesis = await asyncio.to_thread(self._synthesize, ballot)
        if not len(ballot.groups) == len(ballot.voters) >= _ENOUGH_DRAFTS or not all(
            map(is_long, ballot.voters)
        ):
            return synthesis
        fallback = next(each for each in ballot.voters if each.index == synthesis.chosen)
        return Synthesis(
            answer=written(question, ballot.voters, generate, fallback), agreement=synthesis.agreement
        )
