"""One answer of several candidates, by choosing.

Small models lose more by merging texts than they gain: over relevant contexts the best synthesis measured
was selection, one to nine points of F1 under an oracle's choice. Self-consistency in general does not help
long-context questions much (arXiv 2411.01101), so expect little where one path is good already.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence

import msgspec

from openkimi import Candidate, Generate, Synthesis, Synthesizer
from openkimi_mpr.agreement import medoid
from openkimi_mpr.ballot import Ballot, is_long
from openkimi_mpr.consensus import shares_of
from openkimi_mpr.replaying import replayed, written
from openkimi_mpr.settling import is_decided, is_sure

_LEAST_WEIGHT = 0.25
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
        """Tell whether the first is sure, or more of them decide the vote."""
        if len(candidates) >= paths:
            return True
        if len(candidates) == 1:
            return is_sure(candidates[0], question)
        ballot = Ballot(question, candidates)
        return is_decided(ballot.groups, self.weigh(ballot), paths - len(candidates))

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
        """Count each by its support, a quarter at the least."""
        return _weights(ballot)

    def choose(self, ballot: Ballot) -> int:
        """Choose by agreement, weighted."""
        return medoid(range(len(ballot.voters)), ballot.table, _weights(ballot))


class SupportSynthesizer(ChoosingSynthesizer):
    """Chooses the candidate that its passages bear out best, and of equals the one most like the others.

    Support is what ranks answers to a question by how likely they are right where the model's own
    probability does not: a right answer stands near the question's words in what was read.
    """

    def weigh(self, ballot: Ballot) -> list[float]:
        """Count each by its support, a quarter at the least."""
        return _weights(ballot)

    def choose(self, ballot: Ballot) -> int:
        """Choose by support, then by agreement."""
        gains = [sum(row) for row in ballot.table]
        return max(
            range(len(ballot.voters)),
            key=lambda at: (round(ballot.supports[at], 6), round(gains[at], 6), -at),
        )


class ConsensusSynthesizer(ChoosingSynthesizer):
    """Chooses the candidate that says most of what more than half of all say, and least else.

    Each claim of a candidate counts by the share of candidates that make it, less one half, so that the sum
    is largest where most is likely right and least is likely wrong: Atomic Self-Consistency
    (Thirukovalluru et al., arXiv 2405.13131), choosing where that merges. An answer that no other half bears
    out either is told to be unsupported.
    """

    def choose(self, ballot: Ballot) -> int:
        """Choose by the claims that are shared."""
        scores = [sum(share - 0.5 for share in shares) for shares in shares_of(ballot)]
        return max(range(len(scores)), key=lambda at: (round(scores[at], 9), ballot.supports[at], -at))

    def _synthesize(self, ballot: Ballot) -> Synthesis:
        synthesis = super()._synthesize(ballot)
        alone = all(share <= 0.5 for shares in shares_of(ballot) for share in shares)
        if alone and synthesis.supported is None and ballot.is_unsupported:
            return msgspec.structs.replace(synthesis, supported=False)
        return synthesis


class HierarchicalSynthesizer(ChoosingSynthesizer):
    """Groups the candidates that agree and chooses from the weightiest group.

    A group weighs what its members' support adds up to; of the group its medoid is taken as it is. The model
    writes a new text only from at least three long drafts of which no two agree.
    """

    def weigh(self, ballot: Ballot) -> list[float]:
        """Count each by its support, a quarter at the least."""
        return _weights(ballot)

    def choose(self, ballot: Ballot) -> int:
        """Choose by agreement and support."""
        weights = _weights(ballot)
        best = max(ballot.groups, key=lambda group: sum(weights[at] for at in group))
        return medoid(best, ballot.table, weights)

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


def _weights(ballot: Ballot) -> list[float]:
    return [_LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * support for support in ballot.supports]
