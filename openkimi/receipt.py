"""The receipt: what became of the caller's documents on the way into the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openkimi.documents import Hit
from openkimi.modes import UsedMode
from openkimi.turn import Turn


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that stands in the prompt.

    ``start`` and ``end`` are character offsets into the text of the message it came from; ``message`` is
    that message's number in the request. It is None for a document that was stored before and for the
    transcript of earlier exchanges: then the offsets are into that document's own text.
    """

    document: str
    start: int
    end: int
    score: float
    density: float
    message: int | None = None


class DocumentReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A document in scope: its size in characters, and how many of them stand in the prompt."""

    id: str
    characters: int | None
    kept_characters: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How a prompt was built.

    ``compressed`` is False when the messages went to the model unchanged. All ``*_tokens`` are counted by
    the model's own tokenizer. ``found`` counts the passages the search brought back. ``mode`` says how a
    prompt was built that is not the messages themselves. In the exhaustive mode the model reads
    ``read_tokens`` in at most ``calls`` answers, and the passages are what it took notes from.
    """

    compressed: bool
    mode: UsedMode | None = None
    window: int
    prompt_tokens: int
    context_tokens: int = 0
    max_context_tokens: int | None = None
    documents: tuple[DocumentReceipt, ...] = ()
    passages: tuple[Passage, ...] = ()
    found: int = 0
    paths: int = 1
    agreement: float | None = None
    calls: int = 1
    read_tokens: int = 0


def passages_of(turn: Turn, chosen: Sequence[Hit]) -> tuple[Passage, ...]:
    """List the chosen passages in the order of the prompt, with offsets into the caller's own text."""
    places = {place.document: (place.message, place.offset) for place in turn.places}
    listed = []
    for hit in sorted(chosen, key=lambda hit: (hit.document_id, hit.chunk.start)):
        message, offset = places.get(hit.document_id, (None, 0))
        listed.append(
            Passage(
                document=hit.document_id,
                start=hit.chunk.start + offset,
                end=hit.chunk.end + offset,
                score=round(hit.score, 4),
                density=round(hit.chunk.density, 4),
                message=message,
            )
        )
    return tuple(listed)


def documents_of(turn: Turn, chosen: Sequence[Hit]) -> tuple[DocumentReceipt, ...]:
    """List the documents in scope with how much of each is in the prompt."""
    sizes = {document.id: len(document.text) for document in turn.documents}
    kept: dict[str, int] = {}
    for hit in chosen:
        kept[hit.document_id] = kept.get(hit.document_id, 0) + hit.chunk.end - hit.chunk.start
    return tuple(
        DocumentReceipt(id=id_, characters=sizes.get(id_), kept_characters=kept.get(id_, 0))
        for id_ in turn.scope
    )
