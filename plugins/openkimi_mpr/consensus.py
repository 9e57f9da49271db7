"""What candidates claim, claim by claim, and how many of them claim it."""

from __future__ import annotations

from openkimi import Candidate, find_support
from openkimi_mpr.ballot import Ballot
from openkimi_mpr.statements import Statement, conclusion_of, parse_json, statement_of


def shares_of(ballot: Ballot) -> list[list[float]]:
    """Tell for each voter and each of its claims which share of the voters makes that claim."""
    claims = [_claims(voter, ballot.question) for voter in ballot.voters]
    return [
        [sum(any(map(claim.agrees, others)) for others in claims) / len(claims) for claim in own]
        for own in claims
    ]


def _claims(candidate: Candidate, question: str) -> list[Statement]:
    """Take an answer apart into its sentences; tool calls and JSON are whole."""
    whole = [statement_of(candidate, question)]
    if whole[0].calls or whole[0].declines or parse_json(candidate.text) is not None:
        return whole
    text = conclusion_of(candidate.text)
    spans = [claim.span for claim in find_support(text, ())]
    pieces = [Candidate(index=0, text=text[span.start : span.end]) for span in spans]
    return [statement_of(piece, question) for piece in pieces] or whole
