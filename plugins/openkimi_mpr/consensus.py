"""What candidates claim, claim by claim, and how many of them claim it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from openkimi import Candidate, find_support
from openkimi_mpr.ballot import Ballot
from openkimi_mpr.statements import Statement, conclusion_of, parse_json, statement_of


def shares_of(ballot: Ballot) -> list[list[float]]:
    """Tell for each voter and each of its claims which share of the voters makes that claim."""
    claims = [_claims(voter, ballot.question) for voter in ballot.voters]
    made = _Made(claims)
    shares = {claim: len(made.by(claim)) / len(claims) for claim in made.makers}
    return [[shares[claim] for claim in own] for own in claims]


class _Made:
    """Claims, each once, with those who make it, by their words: long answers make thousands."""

    def __init__(self, claims: Sequence[Sequence[Statement]]) -> None:
        self.makers: dict[Statement, set[int]] = {}
        for voter, own in enumerate(claims):
            for claim in own:
                self.makers.setdefault(claim, set()).add(voter)
        self._voters = len(claims)
        self._all = list(self.makers)
        self._having: dict[tuple[str, int], list[int]] = {}
        for at, claim in enumerate(self._all):
            for word in _numbered(claim):
                self._having.setdefault(word, []).append(at)

    def by(self, claim: Statement) -> set[int]:
        """Return those who make a claim, in their own words."""
        found = set(self.makers[claim])
        for other in self._near(claim):
            if len(found) == self._voters:
                break
            if not self.makers[other] <= found and claim.agrees(other):
                found |= self.makers[other]
        return found

    def _near(self, claim: Statement) -> Iterator[Statement]:
        """Return the claims that have enough words of one to agree with it."""
        common: Counter[int] = Counter()
        for word in _numbered(claim):
            common.update(self._having[word])
        for at, words in common.most_common():
            other = self._all[at]
            mine, others = len(claim.words), len(other.words)
            if 4 * words >= mine + others or words >= min(mine, others) or other.declines:
                yield other


def _numbered(claim: Statement) -> Iterator[tuple[str, int]]:
    """Tell a word that comes again from the first, so that sets of them compare as bags do.

    Claims that decline are alike whatever their words, as those without any are.
    """
    seen: Counter[str] = Counter()
    for word in ("",) if claim.declines or not claim.words else claim.words:
        yield word, seen[word]
        seen[word] += 1


def _claims(candidate: Candidate, question: str) -> list[Statement]:
    """Take an answer apart into its sentences; tool calls and JSON are whole."""
    whole = [statement_of(candidate, question)]
    if whole[0].calls or whole[0].declines or parse_json(candidate.text) is not None:
        return whole
    text = conclusion_of(candidate.text)
    spans = [claim.span for claim in find_support(text, ())]
    pieces = [Candidate(index=0, text=text[span.start : span.end]) for span in spans]
    return [statement_of(piece, question) for piece in pieces] or whole
