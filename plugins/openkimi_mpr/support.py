"""Whether a candidate's answer stands in the passages it read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openkimi import Candidate, find_support
from openkimi_mpr.statements import Statement, parse_json
from openkimi_mpr.words import tokens_of

_SHORT = 12
"""Words beyond the question's up to which an answer is not a text copied from the passages."""
_MUCH = 0.5
_SAME_LANGUAGE = 1 / 3


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """How far what was read bears an answer out.

    ``share`` is that of its claims with evidence, None where words cannot tell: nothing was read, it is in
    another language, or the answer makes no claim in words, as a bare yes, a tool call or JSON. An answer is
    ``sure`` when it is short, ended by itself and has good evidence for all that it claims. A text copied
    from a passage has evidence too, and is mostly beside the point.
    """

    share: float | None = None
    sure: bool = False

    @property
    def is_borne_out(self) -> bool | None:
        """Whether at least half of the claims have evidence, None where words cannot tell."""
        return None if self.share is None else self.share >= _MUCH


def support_of(candidate: Candidate, statement: Statement, question: str) -> Support:
    """Look for what a candidate says in what it read, near what was asked for."""
    if not candidate.context or candidate.tool_calls or parse_json(candidate.text) is not None:
        return Support()
    passages = [hit.chunk.text for hit in candidate.context]
    claims = find_support(candidate.text, passages, question=question)
    if not claims:
        return Support()
    share = sum(bool(claim.evidence) for claim in claims) / len(claims)
    if share < _MUCH and not _share_language(f"{question} {candidate.text}", passages):
        return Support()
    specific = not statement.declines and statement.verdict is None and len(statement.words) <= _SHORT
    good = all(claim.evidence and claim.evidence[0].score >= _MUCH for claim in claims)
    return Support(share=share, sure=specific and good and candidate.finish_reason == "stop")


def _share_language(text: str, passages: Sequence[str]) -> bool:
    """Tell whether a good part of a text's words, those without meaning above all, stand in passages."""
    words = set(tokens_of(text))
    read = {word for passage in passages for word in tokens_of(passage)}
    return len(words & read) >= _SAME_LANGUAGE * len(words)
