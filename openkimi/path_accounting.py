"""Draws up the receipts of reasoning paths."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from openkimi.citations import cite
from openkimi.contracts import Candidate
from openkimi.documents import Hit
from openkimi.path_receipt import CalledTool, PathReceipt, Quote
from openkimi.paths import Failed, Walked
from openkimi.turn import Turn


def receipts_of(
    walked: Sequence[Walked],
    failed: Sequence[Failed],
    turn: Turn,
    *,
    dissenting: Collection[int] | None,
    quotes: bool,
) -> tuple[PathReceipt, ...]:
    """Draw up the receipts of all paths, in their order; without quotes where nobody wants them.

    ``dissenting`` are the indexes of the candidates that say something else than the answer, None where that
    is not known. Looks for support as :func:`openkimi.citations.cite` does: call it in a thread.
    """
    receipts = [_receipt(one, turn, dissenting, quotes) for one in walked]
    receipts += [PathReceipt(index=one.index, error=one.error, usage=one.usage) for one in failed]
    return tuple(sorted(receipts, key=lambda receipt: receipt.index))


def _receipt(walked: Walked, turn: Turn, dissenting: Collection[int] | None, quotes: bool) -> PathReceipt:
    candidate = walked.candidate
    support, supported_by = _support(candidate.text, candidate.context, turn)
    return PathReceipt(
        index=candidate.index,
        answer=candidate.text if candidate.text or not candidate.tool_calls else None,
        tool_calls=tuple(_calls(candidate)),
        agrees=None if dissenting is None else candidate.index not in dissenting,
        support=support,
        supported_by=supported_by if quotes else (),
        finish_reason=candidate.finish_reason,
        usage=candidate.usage,
    )


def _calls(candidate: Candidate) -> Iterator[CalledTool]:
    for call in candidate.tool_calls:
        yield CalledTool(name=call.name, arguments=call.arguments)


def _support(text: str, context: Sequence[Hit], turn: Turn) -> tuple[float | None, tuple[Quote, ...]]:
    """Return the share of an answer's sentences that passages have, and where these stand."""
    if not context:
        return None, ()
    found = cite(text, turn, context)
    cited = {citation.answer_start for citation in found.cited}
    claims = len(cited) + len(found.unsupported)
    quotes = dict.fromkeys(
        Quote(
            document=citation.document,
            message=citation.message,
            start=citation.start,
            end=citation.end,
            quote=citation.quote,
        )
        for citation in found.cited
    )
    return (round(len(cited) / claims, 2) if claims else None), tuple(quotes)
