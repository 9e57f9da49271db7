"""Citations: which passages of the prompt say what an answer says, word for word in the caller's own text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openkimi.documents import Hit
from openkimi.support import Evidence, find_support
from openkimi.turn import Turn

_MOST_TEXT = 500_000


class AnswerSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of an answer, in characters of its text; ``choice`` is the answer's number."""

    choice: int = 0
    answer_start: int
    answer_end: int


class Citation(AnswerSpan, frozen=True, kw_only=True):
    """A sentence of a passage that has what a sentence of the answer says.

    ``start`` and ``end`` are offsets as those of a passage, and ``quote`` is what stands there. ``score`` in
    (0, 1] is how much of the answer's sentence the quote has by itself.
    """

    document: str
    message: int | None
    start: int
    end: int
    quote: str
    score: float


class Citations(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for an answer, and the sentences for which nothing was."""

    cited: tuple[Citation, ...] = ()
    unsupported: tuple[AnswerSpan, ...] = ()

    def __add__(self, other: Citations) -> Citations:
        return Citations(cited=self.cited + other.cited, unsupported=self.unsupported + other.unsupported)


def cite(answer: str, turn: Turn, passages: Sequence[Hit], *, choice: int = 0) -> Citations:
    """Find citations for an answer in the passages that its prompt held, up to 500,000 characters of them.

    Pure, a few milliseconds for a page; it blocks for longer ones, so call it in a thread.
    """
    passages = _first(passages, _MOST_TEXT)
    cited: list[Citation] = []
    unsupported: list[AnswerSpan] = []
    for claim in find_support(answer, [hit.chunk.text for hit in passages], question=turn.question):
        span = AnswerSpan(choice=choice, answer_start=claim.span.start, answer_end=claim.span.end)
        found = (_citation(span, one, passages[one.passage], turn) for one in claim.evidence)
        quoted = [citation for citation in found if citation is not None]
        cited += quoted
        unsupported += [] if quoted else [span]
    return Citations(cited=tuple(cited), unsupported=tuple(unsupported))


def _first(passages: Sequence[Hit], characters: int) -> list[Hit]:
    """Return as many passages as have that many characters."""
    taken: list[Hit] = []
    for hit in passages:
        characters -= len(hit.chunk.text)
        if characters < 0:
            break
        taken.append(hit)
    return taken


def _citation(span: AnswerSpan, evidence: Evidence, hit: Hit, turn: Turn) -> Citation | None:
    """Make a citation whose quote is what stands in the caller's text; None should that be another text."""
    quote = hit.chunk.text[evidence.span.start : evidence.span.end]
    start = hit.chunk.start + evidence.span.start
    place = turn.place_of(hit.document_id, start, start + len(quote))
    if place is not None:
        start += place.offset
        quote, start = quote[max(0, -start) :], max(0, start)
        if not quote or turn.request.messages[place.message].text[start : start + len(quote)] != quote:
            return None
    return Citation(
        choice=span.choice,
        answer_start=span.answer_start,
        answer_end=span.answer_end,
        document=hit.document_id,
        message=place.message if place else None,
        start=start,
        end=start + len(quote),
        quote=quote,
        score=round(evidence.score, 2),
    )
