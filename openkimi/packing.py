"""Packs the best passages into a prompt that never exceeds its budget."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from openkimi.budget import Budget
from openkimi.contracts import Backend
from openkimi.documents import Hit
from openkimi.excerpts import Sized, choose, excerpt_of, sentences_of
from openkimi.messages import GenerateRequest
from openkimi.turn import Turn

_GAP = "\n…\n"
_INTRODUCTION = "Excerpts from a longer text:\n"
_MIN_PASSAGE = 5
_CONSIDERED = 24
"""Characters of ranked passages, for each token of room, among which sentences are chosen."""
_SLACK = 16
"""Tokens by which the sum of the passages may exceed the budget, since gaps and headings often fall away."""

Bounds = dict[tuple[str, int], tuple[int, int]]
"""Where passages stand in their documents, by the document's id and the passage's ordinal."""


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with the passages that are in it, ``top_k`` of them at most, and their sizes in tokens."""

    request: GenerateRequest
    passages: tuple[Hit, ...] = ()
    prompt_tokens: int
    context_tokens: int = 0
    top_k: int | None = None


async def pack(
    backend: Backend,
    turn: Turn,
    ranked: Sequence[Hit],
    budget: Budget,
    *,
    core: Sequence[Hit] = (),
    top_k: int | None = None,
) -> Packed:
    """Put the dense core and then as many of the ranked passages as fit into the prompt.

    Core and retrieved passages each stand in the order of their document, the core first, so that the
    prompt's beginning stays the same from question to question. Token counts do not add up where texts
    are joined, so the whole is counted at the end and the least wanted passage goes until it fits.
    """
    bounds = _bounds((*core, *ranked))
    empty = await backend.count_prompt(turn.skeleton())
    room = min(budget.context, budget.prompt - empty)
    core_room = min(budget.core, room)
    kept = choose(await _sized(backend, core, core_room), core_room, top_k) if core_room > 0 else []
    left = room - await _size(backend, kept)
    fresh = [hit for hit in ranked if all(not hit.overlaps(other) for other in kept)]
    most = None if top_k is None else top_k - len(kept)
    sized = await _sized(backend, fresh, left)
    chosen = choose(sized, left + _SLACK, most)
    packed = await _render(backend, turn, kept, chosen, bounds)
    if _over(packed, budget) > 0:
        chosen = choose(sized, left, most)
        packed = await _render(backend, turn, kept, chosen, bounds)
    if not kept and not chosen and ranked:
        chosen = await _shortened(backend, ranked[0], room)
        packed = await _render(backend, turn, kept, chosen, bounds)
    while (over := _over(packed, budget)) > 0 and (kept or chosen):
        if len(kept) + len(chosen) == 1:
            [last] = kept or chosen
            kept, chosen = [], await _shortened(backend, last, packed.context_tokens - over)
        else:
            kept, chosen = (kept, chosen[:-1]) if chosen else (kept[:-1], chosen)
        packed = await _render(backend, turn, kept, chosen, bounds)
    return msgspec.structs.replace(packed, top_k=top_k)


def _over(packed: Packed, budget: Budget) -> int:
    """Return by how many tokens a prompt or its passages are too large; not above zero where they fit."""
    return max(packed.prompt_tokens - budget.prompt, packed.context_tokens - budget.context)


async def _sized(backend: Backend, hits: Sequence[Hit], room: int) -> list[Sized]:
    """Count the sentences of the first hits, of several times as much text as there can be room for."""
    considered: list[Hit] = []
    left = room * _CONSIDERED
    for hit in hits:
        if left <= 0:
            break
        if all(not hit.overlaps(other) for other in considered):
            considered.append(hit)
            left -= len(hit.chunk.text)
    headings = [hit.chunk.under_heading[: -len(hit.chunk.text) or None] for hit in considered]
    texts = [
        hit.chunk.text[sentence.start : sentence.end] for hit in considered for sentence in sentences_of(hit)
    ]
    counts = iter(await backend.count_tokens([*headings, *texts])) if considered else iter(())
    sizes = [next(counts) for _ in headings]
    return [
        Sized(
            hit=hit,
            heading=heading,
            sentences=sentences_of(hit),
            tokens=tuple(itertools.islice(counts, len(sentences_of(hit)))),
        )
        for hit, heading in zip(considered, sizes, strict=True)
    ]


async def _shortened(backend: Backend, hit: Hit, room: int) -> list[Hit]:
    """Cut a passage down to its best sentence, and that to what fits; nothing when it is hardly anything."""
    weights = [sentence.weight for sentence in sentences_of(hit)]
    best = weights.index(max(weights))
    part = excerpt_of(hit, best, best).chunk
    [introduction] = await backend.count_tokens([_INTRODUCTION])
    text = part.text
    while len(text) > 1 and room >= introduction + _MIN_PASSAGE:
        [tokens] = await backend.count_tokens([_INTRODUCTION + text])
        if tokens <= room:
            chunk = msgspec.structs.replace(part, text=text, end=part.start + len(text), headings=())
            return [] if chunk == hit.chunk else [msgspec.structs.replace(hit, chunk=chunk, sentences=())]
        text = text[: min(len(text) - 1, len(text) * room // tokens)]
    return []


async def _size(backend: Backend, hits: Sequence[Hit]) -> int:
    return sum(await backend.count_tokens([hit.chunk.under_heading + _GAP for hit in hits])) if hits else 0


async def _render(
    backend: Backend, turn: Turn, core: Sequence[Hit], chosen: Sequence[Hit], bounds: Bounds
) -> Packed:
    texts: dict[int, str] = {}
    placed: set[str] = set()
    for at, cut in enumerate(turn.cuts):
        here = [document_id for document_id in cut.documents if document_id not in placed]
        placed.update(here)
        blocks = [block for hits in (core, chosen) if (block := _block(hits, here, bounds))]
        if blocks:
            texts[at] = _INTRODUCTION + _GAP.join(blocks)
    request = turn.with_passages(texts)
    counts = await backend.count_tokens(list(texts.values())) if texts else []
    return Packed(
        request=request,
        passages=(*core, *chosen),
        prompt_tokens=await backend.count_prompt(request),
        context_tokens=sum(counts),
    )


def _block(hits: Iterable[Hit], documents: Sequence[str], bounds: Bounds) -> str:
    """Join the passages of some documents in their own order, marking what was left out between them."""
    parts: list[str] = []
    for document_id in documents:
        here = [hit for hit in hits if hit.document_id == document_id]
        before: Hit | None = None
        for hit in sorted(here, key=lambda hit: hit.chunk.start):
            if parts:
                follows = before is not None and _follows(before, hit, bounds)
                parts.append("\n" if follows else _GAP)
            titled = before is not None and before.chunk.headings == hit.chunk.headings
            parts.append(hit.chunk.text if titled else hit.chunk.under_heading)
            before = hit
    return "".join(parts)


def _bounds(hits: Iterable[Hit]) -> Bounds:
    """Tell where each passage began and ended before it was cut down."""
    bounds: Bounds = {}
    for hit in hits:
        start, end = bounds.get(_place(hit), (hit.chunk.start, hit.chunk.end))
        bounds[_place(hit)] = (min(start, hit.chunk.start), max(end, hit.chunk.end))
    return bounds


def _place(hit: Hit) -> tuple[str, int]:
    return hit.document_id, hit.chunk.ordinal


def _follows(before: Hit, hit: Hit, bounds: Bounds) -> bool:
    """Tell whether nothing was left out between two passages of a document."""
    if before.chunk.ordinal + 1 != hit.chunk.ordinal:
        return False
    _, end = bounds.get(_place(before), (0, before.chunk.end))
    start, _ = bounds.get(_place(hit), (hit.chunk.start, 0))
    return before.chunk.end == end and hit.chunk.start == start
