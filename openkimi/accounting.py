"""Draws up the receipt of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from openkimi.budget import Budget
from openkimi.contracts import Backend
from openkimi.documents import DocumentInfo, Hit
from openkimi.packing import Packed
from openkimi.receipt import DocumentReceipt, Extent, Passage, PassageKind, Receipt
from openkimi.turn import Turn

_SAMPLE = 2000
_SAMPLED_DOCUMENTS = 16


async def receipt_of(
    backend: Backend, turn: Turn, packed: Packed, budget: Budget, infos: Mapping[str, DocumentInfo]
) -> Receipt:
    """Draw up the receipt of a prompt with passages; ``infos`` tell of the documents in scope."""
    chosen = packed.passages
    sizes = await _measure(backend, chosen, infos)
    documents = documents_of(turn, chosen, sizes)
    dense = _extent([hit for hit in chosen if kind_of(hit) == "dense"], sizes)
    retrieved = _extent([hit for hit in chosen if kind_of(hit) == "retrieved"], sizes)
    return Receipt(
        compressed=True,
        window=budget.window,
        prompt_tokens=packed.prompt_tokens,
        context_tokens=packed.context_tokens,
        max_context_tokens=budget.context,
        documents=documents,
        passages=passages_of(turn, chosen),
        found=len(turn.hits),
        dense=dense,
        retrieved=retrieved,
        left_out=_left_out(documents, dense, retrieved),
    )


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the documents in scope, and how many characters a token of each has."""

    infos: Mapping[str, DocumentInfo]
    ratios: Mapping[str, float]
    ratio: float | None

    def tokens(self, document_id: str, characters: int | None) -> int | None:
        """Estimate the tokens of a stretch of a document; None where nothing tells."""
        ratio = self.ratios.get(document_id, self.ratio)
        return None if characters is None or ratio is None else round(characters / ratio)


async def _measure(backend: Backend, chosen: Sequence[Hit], infos: Mapping[str, DocumentInfo]) -> Sizes:
    """Estimate the characters per token of documents from a sample of their passages in the prompt."""
    samples: dict[str, str] = {}
    for hit in chosen:
        known = samples.get(hit.document_id, "")
        if len(known) < _SAMPLE and (known or len(samples) < _SAMPLED_DOCUMENTS):
            samples[hit.document_id] = known + hit.chunk.text[: _SAMPLE - len(known)]
    counts = await backend.count_tokens(list(samples.values())) if samples else []
    ratios = {
        document_id: len(text) / max(1, count)
        for (document_id, text), count in zip(samples.items(), counts, strict=True)
    }
    characters = sum(map(len, samples.values()))
    return Sizes(infos=infos, ratios=ratios, ratio=characters / max(1, sum(counts)) if characters else None)


def kind_of(hit: Hit) -> PassageKind:
    """Tell a passage that the question found from one that is there for its density."""
    found = hit.score or hit.lexical is not None or hit.similarity is not None
    return "retrieved" if found else "dense"


def passages_of(turn: Turn, chosen: Sequence[Hit]) -> tuple[Passage, ...]:
    """List the chosen passages in the order of the prompt, with offsets into the caller's own text."""
    listed = []
    for hit in sorted(chosen, key=lambda hit: (hit.document_id, hit.chunk.start)):
        place = turn.place_of(hit.document_id, hit.chunk.start, hit.chunk.end)
        offset = place.offset if place else 0
        listed.append(
            Passage(
                document=hit.document_id,
                start=max(0, hit.chunk.start + offset),
                end=max(0, hit.chunk.end + offset),
                score=round(hit.score, 4),
                density=round(hit.chunk.density, 4),
                message=place.message if place else None,
                kind=kind_of(hit),
                lexical=_rounded(hit.lexical),
                similarity=_rounded(hit.similarity),
            )
        )
    return tuple(listed)


def documents_of(turn: Turn, chosen: Sequence[Hit], sizes: Sizes) -> tuple[DocumentReceipt, ...]:
    """List the documents in scope with how much of each is in the prompt."""
    sent = {document.id: document for document in turn.documents}
    kept: dict[str, int] = {}
    for hit in chosen:
        kept[hit.document_id] = kept.get(hit.document_id, 0) + hit.chunk.end - hit.chunk.start
    listed = []
    for id_ in turn.scope:
        info, document = sizes.infos.get(id_), sent.get(id_)
        characters = len(document.text) if document else info.characters if info else None
        listed.append(
            DocumentReceipt(
                id=id_,
                name=info.name if info else None,
                characters=characters,
                tokens=sizes.tokens(id_, characters),
                chunks=info.chunks if info else None,
                kept_characters=kept.get(id_, 0),
            )
        )
    return tuple(listed)


def _left_out(documents: Sequence[DocumentReceipt], dense: Extent, retrieved: Extent) -> Extent:
    return Extent(
        characters=_rest(documents, "characters", dense.characters + retrieved.characters),
        tokens=_rest(documents, "tokens", dense.tokens + retrieved.tokens),
        chunks=_rest(documents, "chunks", dense.chunks + retrieved.chunks),
    )


def _rest(documents: Sequence[DocumentReceipt], unit: str, kept: int) -> int:
    return max(0, sum(getattr(document, unit) or 0 for document in documents) - kept)


def _extent(hits: Sequence[Hit], sizes: Sizes) -> Extent:
    lengths = [(hit.document_id, hit.chunk.end - hit.chunk.start) for hit in hits]
    return Extent(
        characters=sum(length for _, length in lengths),
        tokens=sum(sizes.tokens(document_id, length) or 0 for document_id, length in lengths),
        chunks=len({(hit.document_id, hit.chunk.ordinal) for hit in hits}),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
