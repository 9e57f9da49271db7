"""The trace of a request: how its prompt came about, and why each passage is in it or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from openkimi.accounting import passages_of
from openkimi.budget import Budget
from openkimi.documents import DocumentInfo, DocumentState, Hit, PassagePlace
from openkimi.messages import GenerateRequest
from openkimi.packing import Packed
from openkimi.preparation import Prepared
from openkimi.receipt import DocumentReceipt, Passage, Receipt
from openkimi.turn import Turn

Fate = Literal[
    "in_prompt", "in_part", "not_relevant", "not_sampled", "overlaps", "repeats", "top_k", "no_room"
]


class FoundPassage(Passage, frozen=True, kw_only=True):
    """A passage that was found, or that is in a prompt for its density, with what became of it.

    ``rank`` counts from 1, best first; None where the question did not find it. ``fates`` has one entry for
    each reasoning path.
    """

    rank: int | None
    headings: tuple[str, ...]
    text: str
    fates: tuple[Fate, ...]


class DocumentTrace(DocumentReceipt, frozen=True, kw_only=True):
    """A document in scope; ``message`` is the number of the request's message that it came from."""

    state: DocumentState | None
    message: int | None = None


class BudgetTrace(msgspec.Struct, frozen=True, kw_only=True):
    """How the window was shared out, in tokens.

    The prompt may have ``prompt``, document text ``context`` of it, and its dense core ``core`` of that.
    """

    window: int
    answer: int
    prompt: int
    context: int
    core: int


class PathTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What one reasoning path would send to the model, and in which order it wanted the ranked passages."""

    request: GenerateRequest
    prompt_tokens: int
    context_tokens: int
    order: tuple[int, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a prompt before the model reads it."""

    reason: str
    question: str
    budget: BudgetTrace
    documents: tuple[DocumentTrace, ...]
    found: int
    hits: tuple[FoundPassage, ...]
    paths: tuple[PathTrace, ...]
    receipt: Receipt


def explain(
    prepared: Prepared,
    requests: Sequence[GenerateRequest],
    infos: Mapping[str, DocumentInfo],
    *,
    limit: int,
) -> Explanation:
    """Tell how prompts came about; ``requests`` are what a backend would get, one for each path.

    Of the passages found the best ``limit`` are told.
    """
    turn = prepared.turn
    ranks = {hit.place: rank for rank, hit in enumerate((*turn.hits, *turn.irrelevant), start=1)}
    orders = [[ranks[hit.place] for hit in context if hit.place in ranks] for context in prepared.contexts]
    return Explanation(
        reason=_reason(prepared),
        question=turn.question,
        budget=_budget(prepared.budget),
        documents=_documents(prepared, infos),
        found=len(ranks),
        hits=_hits(prepared, ranks, limit),
        paths=tuple(
            PathTrace(
                request=request,
                prompt_tokens=packed.prompt_tokens,
                context_tokens=packed.context_tokens,
                order=tuple(order[:limit]),
            )
            for packed, request, order in zip(
                prepared.packs, requests, orders or [[]] * len(requests), strict=True
            )
        ),
        receipt=prepared.receipt,
    )


def _reason(prepared: Prepared) -> str:
    turn = prepared.turn
    if prepared.reading is not None:
        return (
            f"the mode 'exhaustive' has the model read all of it in {len(prepared.reading.parts)} parts, "
            f"with at most {prepared.reading.calls} answers, before its prompt is made of the notes"
        )
    if prepared.receipt.compressed and turn.documents:
        return (
            "long messages were taken for documents: the messages do not fit the window, or their text "
            "is more than rag.max_context_tokens allows"
        )
    if prepared.receipt.compressed:
        return "the messages fit the window, and stored documents in scope have passages for the question"
    if turn.stored:
        return (
            "the messages go to the model unchanged: they fit the window, and no passage of the stored "
            "documents in scope is relevant to the question"
        )
    return "the messages go to the model unchanged: they fit the window, and no stored document is in scope"


def _budget(budget: Budget) -> BudgetTrace:
    return BudgetTrace(
        window=budget.window,
        answer=budget.answer,
        prompt=budget.prompt,
        context=budget.context,
        core=budget.core,
    )


def _documents(prepared: Prepared, infos: Mapping[str, DocumentInfo]) -> tuple[DocumentTrace, ...]:
    turn = prepared.turn
    told = {document.id: document for document in prepared.receipt.documents}
    messages = {place.document: place.message for place in turn.places if place.end is None}
    traced = []
    for id_ in turn.scope:
        info = infos.get(id_)
        document = told.get(id_) or DocumentReceipt(
            id=id_,
            name=info.name if info else None,
            characters=info.characters if info else None,
            chunks=info.chunks if info else None,
            kept_characters=0,
        )
        traced.append(
            DocumentTrace(
                **msgspec.structs.asdict(document),
                state=info.state if info else None,
                message=messages.get(id_),
            )
        )
    return tuple(traced)


def _hits(prepared: Prepared, ranks: Mapping[PassagePlace, int], limit: int) -> tuple[FoundPassage, ...]:
    """List the best that were found, and after them what else is in a prompt."""
    turn = prepared.turn
    found = [*turn.hits, *turn.irrelevant]
    others = {
        hit.place: hit for packed in prepared.packs for hit in packed.passages if hit.place not in ranks
    }
    fates = [_Fates(turn, packed, context) for packed, context in _paths(prepared)]
    return tuple(
        _found(turn, hit, ranks.get(hit.place), tuple(path.of(hit) for path in fates))
        for hit in (*found[:limit], *others.values())
    )


def _paths(prepared: Prepared) -> list[tuple[Packed, tuple[Hit, ...]]]:
    contexts = prepared.contexts or ((),) * len(prepared.packs)
    return list(zip(prepared.packs, contexts, strict=True))


def _found(turn: Turn, hit: Hit, rank: int | None, fates: tuple[Fate, ...]) -> FoundPassage:
    [passage] = passages_of(turn, [hit])
    return FoundPassage(
        **msgspec.structs.asdict(passage),
        rank=rank,
        headings=hit.chunk.headings,
        text=hit.chunk.text,
        fates=fates,
    )


class _Fates:
    """What became of passages on one path."""

    def __init__(self, turn: Turn, packed: Packed, context: Sequence[Hit]) -> None:
        self._irrelevant = {hit.place for hit in turn.irrelevant}
        self._wanted = {hit.place for hit in context}
        self._inside = packed.passages
        self._texts = {hit.chunk.text for hit in packed.passages}
        chunks = {(hit.document_id, hit.chunk.ordinal) for hit in packed.passages}
        self._full = packed.top_k is not None and len(chunks) >= packed.top_k

    def of(self, hit: Hit) -> Fate:
        """Tell one passage's fate."""
        if any(inside.holds(hit) for inside in self._inside):
            return "in_prompt"
        if any(hit.holds(inside) for inside in self._inside):
            return "in_part"
        if hit.place in self._irrelevant:
            return "not_relevant"
        if hit.place not in self._wanted:
            return "not_sampled"
        if any(inside.overlaps(hit) for inside in self._inside):
            return "overlaps"
        if hit.chunk.text in self._texts:
            return "repeats"
        return "top_k" if self._full else "no_room"
