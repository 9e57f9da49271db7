"""Finds the passages for a question: the best fitting ones, or those that stand for the whole."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import zip_longest

import msgspec

from openkimi.budget import Budget
from openkimi.contracts import Backend
from openkimi.covering import cover, excerpt
from openkimi.documents import Chunk, Hit, PassagePlace
from openkimi.entire import read_entire
from openkimi.intent import Intent, intent_of
from openkimi.memory import Memory
from openkimi.mentions import mentions
from openkimi.modes import UsedMode
from openkimi.sections import RagSection
from openkimi.turn import Ask, Turn

_RELEVANT_SIMILARITY = 0.32
_UNRELATED_SIMILARITY = 0.24
_FEWEST_HITS = 64
_RRF_K = 10
_FULL_SHARE = 0.99
_RARE = 0.05
_SHORT_PASSAGE_TOKENS = 40
_SHORTEST_EXCERPT_TOKENS = 30
_FEWEST_PLACES = 24
_SAMPLE = 32
_MORE = 3
_MOST_CHARACTERS = 32_000_000
"""Of whole documents that are read for one question."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Passages, the most wanted first, those that nobody asked for and nobody wants, and how it was done."""

    hits: tuple[Hit, ...] = ()
    irrelevant: tuple[Hit, ...] = ()
    mode: UsedMode = "passages"


class Finder:
    """Looks into the memory in the way that a question needs."""

    def __init__(self, *, backend: Backend, memory: Memory, rag: RagSection) -> None:
        self._backend = backend
        self._memory = memory
        self._rag = rag

    async def find(self, turn: Turn, ask: Ask, limits: Budget) -> Found:
        """Find passages in the documents in scope.

        Those nobody asked for, which are preloaded, add passages only where these are relevant.
        """
        if not turn.documents and not turn.stored:
            return Found()
        intent, asked_for = self._intent(turn, ask), self.asked_for(turn, ask)
        covered = asked_for or (turn.scope if ask.mode == "whole" or _has_nothing_else(turn) else ())
        if intent.kind == "summary" and covered:
            groups = _own_first(turn, covered, several=intent.several)
            hits = [hit for group in groups for hit in await self._cover(turn, group, limits)]
            return Found(hits=tuple(hits), mode="summary")
        found = fuse([await self._search(turn, text, limits) for text in dict.fromkeys(turn.searches)])
        mode: UsedMode = "passages"
        if intent.kind == "comparison":
            mode = "comparison"
            sides = [await self._search(turn, side, limits) for side in intent.sides]
            found = take_turns([found, *sides])
        if intent.kind == "enumeration":
            mode = "enumeration"
            found = await self._mentions(turn, intent.subject, found, asked_for)
        return await self._wanted(turn, found, asked_for, mode)

    def asked_for(self, turn: Turn, ask: Ask) -> tuple[str, ...]:
        """Return those in scope that came with the request, were named in it, or ingested before."""
        sent = (document.id for document in turn.documents)
        wanted = {*sent, *(ask.documents or ()), *ask.ingested}
        return tuple(id_ for id_ in turn.scope if id_ in wanted)

    def _intent(self, turn: Turn, ask: Ask) -> Intent:
        if ask.mode == "passages":
            return Intent()
        intent = intent_of(turn.last)
        if ask.mode == "whole" and intent.kind == "lookup":
            return Intent(kind="summary", several=True)
        return intent

    async def _search(self, turn: Turn, text: str, limits: Budget) -> Sequence[Hit]:
        return await self._memory.search(
            text,
            turn.scope,
            tenant=turn.tenant,
            limit=max(_FEWEST_HITS, limits.context // _SHORT_PASSAGE_TOKENS),
            similarity_threshold=self._rag.similarity_threshold,
        )

    async def _mentions(
        self, turn: Turn, subject: str, found: Sequence[Hit], asked_for: Sequence[str]
    ) -> list[Hit]:
        """Put every mention of a subject before what was found, and after it what has most of the subject.

        A subject that is all over the text is no name but a word like others: both then take turns. Of the
        documents nobody asked for those count in which something relevant was found.
        """
        relevant = {hit.document_id for hit in found if _is_relevant(hit)}
        documents = dict.fromkeys((*asked_for, *(id_ for id_ in turn.scope if id_ in relevant)))
        mentioned, total = list[tuple[float, Hit]](), 0
        async with aclosing(self._entire(turn, tuple(documents))) as read:
            async for id_, chunks in read:
                total += len(chunks)
                for share, chunk in await asyncio.to_thread(mentions, chunks, subject):
                    mentioned.append((share, Hit(document_id=id_, chunk=chunk, score=share)))
        mentioned.sort(key=lambda pair: -pair[0])
        full = [hit for share, hit in mentioned if share > _FULL_SHARE]
        most = [hit for share, hit in mentioned if share <= _FULL_SHARE and hit.document_id in asked_for]
        first = [*full, *found] if len(full) <= _RARE * total else take_turns([found, full])
        return _by_rank([*first, *most])

    def _entire(
        self, turn: Turn, document_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[str, Sequence[Chunk]], None]:
        return read_entire(self._memory, document_ids, turn.tenant, most=_MOST_CHARACTERS)

    async def _wanted(
        self, turn: Turn, found: Sequence[Hit], asked_for: Sequence[str], mode: UsedMode
    ) -> Found:
        hits, irrelevant = list[Hit](), list[Hit]()
        for hit in found:
            (hits if hit.document_id in asked_for or _is_relevant(hit) else irrelevant).append(hit)
        hits += await self._fallback(turn, hits)
        return Found(hits=tuple(hits), irrelevant=tuple(irrelevant), mode=mode)

    async def _fallback(self, turn: Turn, found: Sequence[Hit]) -> list[Hit]:
        """Offer the densest passages of each sent document that has no hit."""
        answered = {hit.document_id for hit in found}
        silent = [document.id for document in turn.documents if document.id not in answered]
        return [hit for document_id in silent for hit in await self.densest(turn, document_id)]

    async def densest(self, turn: Turn, document_id: str) -> list[Hit]:
        """Return the densest passages of a document."""
        chunks = await self._memory.densest(document_id, turn.tenant)
        return [Hit(document_id=document_id, chunk=chunk, score=0.0) for chunk in chunks]

    async def _cover(self, turn: Turn, document_ids: Sequence[str], limits: Budget) -> list[Hit]:
        """Choose passages that stand for whole documents, of each as many as its length is worth.

        Short excerpts stand in for passages where the budget holds only a few of these.
        """
        async with aclosing(self._entire(turn, document_ids)) as entire:
            read = {id_: chunks async for id_, chunks in entire}
        everything = [chunk for chunks in read.values() for chunk in chunks]
        if not everything:
            return []
        characters, tokens = await self._usual_size(everything)
        fewest = min(_FEWEST_PLACES, limits.context / _SHORTEST_EXCERPT_TOKENS)
        places = max(limits.context / tokens, fewest, 1.0)
        most = int(limits.context / places * characters / tokens)

        def choose() -> list[Hit]:
            ranked = list[tuple[float, Hit]]()
            for id_, chunks in read.items():
                own = max(1, round(places * len(chunks) / len(everything)))
                chosen = [excerpt(chunk, most) for chunk in cover(chunks, own, _MORE * own)]
                ranked += [
                    ((rank + 1) / own, Hit(document_id=id_, chunk=chunk, score=0.0))
                    for rank, chunk in enumerate(chosen)
                ]
            return _unique(hit for _, hit in sorted(ranked, key=lambda pair: pair[0]))

        return await asyncio.to_thread(choose)

    async def _usual_size(self, chunks: Sequence[Chunk]) -> tuple[float, float]:
        """Measure the mean size of a chunk, in characters and in tokens, by some of them."""
        sample = chunks[:: -(-len(chunks) // _SAMPLE)]
        tokens = sum(await self._backend.count_tokens([chunk.text for chunk in sample]))
        return sum(len(chunk.text) for chunk in sample) / len(sample), max(1.0, tokens / len(sample))


def fuse(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Make one ranking of several by reciprocal rank fusion (Cormack, Clarke, Büttcher 2009)."""
    if len(rankings) == 1:
        return list(rankings[0])
    scores = defaultdict[PassagePlace, float](float)
    for ranking in rankings:
        for rank, hit in enumerate(ranking):
            scores[hit.place] += 1 / (_RRF_K + rank)
    hits = [
        msgspec.structs.replace(hit, score=scores[hit.place])
        for hit in _unique(hit for ranking in rankings for hit in ranking)
    ]
    return sorted(hits, key=lambda hit: -hit.score)


def take_turns(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Take the best hit of each ranking, then the next of each, so that all are represented."""
    return _by_rank(hit for rank in zip_longest(*rankings) for hit in rank if hit is not None)


def _by_rank(hits: Iterable[Hit]) -> list[Hit]:
    """Score passages by their place in an order, reciprocally, as those of several sources have none else."""
    return [msgspec.structs.replace(hit, score=1 / (_RRF_K + rank)) for rank, hit in enumerate(_unique(hits))]


def _unique(hits: Iterable[Hit]) -> list[Hit]:
    places = dict[PassagePlace, Hit]()
    for hit in hits:
        places.setdefault(hit.place, hit)
    return list(places.values())


def _own_first(turn: Turn, covered: Sequence[str], *, several: bool) -> Iterator[tuple[str, ...]]:
    """Put the document that came with the question before all others, where it does not ask for several."""
    own = () if several else tuple(id_ for id_ in covered if id_ in turn.with_question)
    yield own
    yield tuple(id_ for id_ in covered if id_ not in own)


def _has_nothing_else(turn: Turn) -> bool:
    """Tell whether a conversation is one question, which can then only be about stored documents."""
    return (
        sum(cut.message.role not in {"system", "developer"} and not cut.documents for cut in turn.cuts) == 1
    )


def _is_relevant(hit: Hit) -> bool:
    """Judge a passage nobody asked for: near in meaning, or sharing words and not far in meaning."""
    similarity = 1.0 if hit.similarity is None else hit.similarity
    return similarity >= (_UNRELATED_SIMILARITY if hit.lexical else _RELEVANT_SIMILARITY)
