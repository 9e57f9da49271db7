"""Plans to have the model read whole documents, part by part.

As in LLM×MapReduce (Zhou et al., arXiv 2410.09342), but plain: notes of each part, condensed in rounds until
they fit into one prompt.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from openkimi.accounting import Sizes, documents_of, passages_of
from openkimi.budget import Budget
from openkimi.contracts import Backend
from openkimi.covering import part_of
from openkimi.documents import Chunk, DocumentInfo, Hit
from openkimi.entire import read_entire
from openkimi.errors import ContextOverflow, RequestError
from openkimi.memory import Memory
from openkimi.messages import GenerateRequest, Message
from openkimi.receipt import Receipt
from openkimi.sections import RagSection
from openkimi.turn import Ask, Turn
from openkimi.wording import Wording, wording_of

NOTE_MARGIN = 8
"""Tokens that number a note and part it from the next one."""

_MOST_NOTE, _LEAST_NOTE = 256, 16
_LEAST_ROOM = 64
_SLACK = 32
_QUESTION_CHARACTERS = 2000
_COUNTED_AT_ONCE = 256


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What the model reads at once: a stretch of a document in ``passages``, and the text as it is shown."""

    hit: Hit
    passages: tuple[Hit, ...]
    text: str
    tokens: int


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read and what it costs at most.

    ``room`` is in tokens for a part or for notes that are condensed together, ``note`` for a note, ``final``
    for all notes in the last prompt. ``calls`` counts that one too; ``tokens`` are the prompts of the parts.
    """

    turn: Turn
    sizes: Sizes
    limits: Budget
    wording: Wording
    question: str
    parts: tuple[Part, ...]
    room: int
    note: int
    final: int
    calls: int
    tokens: int

    def receipt(
        self, noted: Sequence[Hit] = (), *, prompt_tokens: int = 0, context_tokens: int = 0
    ) -> Receipt:
        """Tell what the reading costs, and what came of it."""
        return Receipt(
            compressed=True,
            mode="exhaustive",
            window=self.limits.window,
            prompt_tokens=prompt_tokens,
            context_tokens=context_tokens,
            max_context_tokens=self.limits.context,
            documents=documents_of(self.turn, noted, self.sizes),
            passages=passages_of(self.turn, noted),
            found=len(noted),
            calls=self.calls,
            read_tokens=self.tokens,
        )

    def to_read(self, at: int) -> GenerateRequest:
        """Return the request that asks for notes of a part."""
        return self._asking(
            self.wording.read.format(
                number=at + 1, total=len(self.parts), part=self.parts[at].text, question=self.question
            )
        )

    def to_condense(self, notes: Sequence[str]) -> GenerateRequest:
        """Return the request that asks to make fewer words of some notes."""
        return self._asking(self.wording.condense.format(notes="\n\n".join(notes), question=self.question))

    def _asking(self, text: str) -> GenerateRequest:
        return plain_request(self.turn.request, text, max_tokens=self.note)


class Planner:
    """Plans how to read documents within the budget of a question."""

    def __init__(self, *, backend: Backend, memory: Memory, rag: RagSection, window: int) -> None:
        self._backend = backend
        self._memory = memory
        self._rag = rag
        self._window = window

    async def plan(
        self,
        turn: Turn,
        ask: Ask,
        document_ids: Sequence[str],
        limits: Budget,
        infos: Mapping[str, DocumentInfo],
    ) -> Reading:
        """Part the documents into what fits, and count what it will cost; ``infos`` tell of those in scope.

        Raises:
            RequestError: it takes more answers of the model than are allowed, or more than one is wanted.
            ContextOverflow: instructions and question leave no room for notes.
        """
        _refuse_several(ask)
        question = turn.question[-_QUESTION_CHARACTERS:]
        wording = wording_of(question)
        asking = wording.read.format(number=1000, total=1000, part="", question=question)
        around = await self._backend.count_prompt(plain_request(turn.request, asking, max_tokens=1))
        skeleton = await self._backend.count_prompt(turn.skeleton())
        final = min(limits.context, limits.prompt - skeleton - _SLACK)
        note = max(_LEAST_NOTE, min(_MOST_NOTE, limits.context // 4, final // 2))
        room = min(limits.context, self._window - around - note - _SLACK)
        if min(room, final) < _LEAST_ROOM:
            raise ContextOverflow(
                f"instructions and question leave {max(0, min(room, final))} tokens for the document, the "
                f"mode 'exhaustive' needs {_LEAST_ROOM}: shorten them, raise rag.max_context_tokens, or take "
                "a model with a larger window",
                param="messages",
            )
        parts = list[Part]()
        async with aclosing(read_entire(self._memory, document_ids, turn.tenant)) as read:
            async for id_, chunks in read:
                parts += await self._parts(id_, chunks, room)
        reading = Reading(
            turn=turn,
            sizes=_sizes(parts, infos),
            limits=limits,
            wording=wording,
            question=question,
            parts=tuple(parts),
            room=room,
            note=note,
            final=final,
            calls=_calls(len(parts), note + NOTE_MARGIN, room, final),
            tokens=sum(part.tokens + around for part in parts),
        )
        self._refuse_costly(reading, ask)
        return reading

    async def _parts(self, document_id: str, chunks: Sequence[Chunk], room: int) -> list[Part]:
        """Put as many chunks together as fit, in the order of the document."""
        pieces = list(_under_headings(chunks))
        counts = await self._counts([text for _, text in pieces])
        parts, gathered, filled = list[Part](), list[tuple[Chunk, str]](), 0
        for (chunk, text), tokens in zip(pieces, counts, strict=True):
            for piece, shown, size in _fitting(chunk, text, tokens, room):
                if gathered and filled + size > room:
                    parts.append(_part(document_id, gathered, filled))
                    gathered, filled = [], 0
                gathered.append((piece, shown))
                filled += size
        return [*parts, _part(document_id, gathered, filled)] if gathered else parts

    async def _counts(self, texts: Sequence[str]) -> list[int]:
        counts = list[int]()
        for at in range(0, len(texts), _COUNTED_AT_ONCE):
            batch = [text + "\n\n" for text in texts[at : at + _COUNTED_AT_ONCE]]
            counts += await self._backend.count_tokens(batch)
        return counts

    def _refuse_costly(self, reading: Reading, ask: Ask) -> None:
        most, by = self._rag.exhaustive_max_calls, "rag.exhaustive_max_calls"
        if ask.max_calls is not None and ask.max_calls < most:
            most, by = ask.max_calls, "openkimi.max_calls"
        if reading.calls > most:
            raise RequestError(
                f"reading all of it takes up to {reading.calls} answers of the model, with about "
                f"{reading.tokens} tokens to read, and {by} allows {most}: raise it, or send another "
                "'openkimi.mode'",
                param="openkimi.mode",
                code="too_many_calls",
            )


def plain_request(request: GenerateRequest, text: str, *, max_tokens: int) -> GenerateRequest:
    """Ask the model of a request something of our own, with none of the request's settings."""
    return GenerateRequest(
        messages=(Message(role="user", content=text),),
        model=request.model,
        max_tokens=max_tokens,
        temperature=0.0,
        seed=request.seed,
        user=request.user,
        tenant=request.tenant,
        stream=False,
        share=request.share,
    )


def _refuse_several(ask: Ask) -> None:
    if ask.n > 1:
        raise RequestError(
            f"'n': the mode 'exhaustive' gives one answer, not {ask.n}", param="n", code="invalid_value"
        )
    if (ask.mpr_candidates or 1) > 1:
        raise RequestError(
            "'openkimi.mpr' cannot be combined with the mode 'exhaustive'", param="openkimi.mpr"
        )


def _calls(parts: int, note: int, room: int, final: int) -> int:
    """Count the answers of the model that it takes if each note is as long as it may be."""
    calls, notes = parts, parts
    while notes * note > final and notes > 1:
        notes = math.ceil(notes / max(2, room // note))
        calls += notes
    return calls + 1


def _under_headings(chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, str]]:
    """Yield chunks with their texts, each first one of a section under its innermost heading."""
    before: tuple[str, ...] = ()
    for chunk in chunks:
        yield chunk, chunk.text if chunk.headings == before else chunk.under_heading
        before = chunk.headings


def _fitting(chunk: Chunk, text: str, tokens: int, room: int) -> Iterator[tuple[Chunk, str, int]]:
    """Yield a chunk as it is, or in pieces where it is larger than a part may be."""
    if tokens <= room:
        yield chunk, text, tokens
        return
    length = max(1, len(text) * room * 2 // (tokens * 3))
    for start in range(0, len(chunk.text), length):
        piece = part_of(chunk, start, min(start + length, len(chunk.text)))
        yield piece, piece.text, room * 2 // 3 + 1


def _part(document_id: str, gathered: Sequence[tuple[Chunk, str]], tokens: int) -> Part:
    first, last = gathered[0][0], gathered[-1][0]
    density = sum(chunk.density for chunk, _ in gathered) / len(gathered)
    text = "\n\n".join(shown for _, shown in gathered)
    stretch = msgspec.structs.replace(first, text=text, end=last.end, density=density)
    return Part(
        hit=Hit(document_id=document_id, chunk=stretch, score=0.0),
        passages=tuple(Hit(document_id=document_id, chunk=chunk, score=0.0) for chunk, _ in gathered),
        text=text,
        tokens=tokens,
    )


def _sizes(parts: Sequence[Part], infos: Mapping[str, DocumentInfo]) -> Sizes:
    """Tell the characters per token of documents that were counted whole."""
    characters, tokens = Counter[str](), Counter[str]()
    for part in parts:
        characters[part.hit.document_id] += len(part.text)
        tokens[part.hit.document_id] += part.tokens
    ratios = {id_: characters[id_] / max(1, tokens[id_]) for id_ in characters}
    return Sizes(infos=infos, ratios=ratios, ratio=None)
