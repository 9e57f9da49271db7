"""Builds the prompt: unchanged where the messages fit, out of the best passages where they do not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openkimi import budget as budgets
from openkimi.accounting import receipt_of
from openkimi.budget import Budget
from openkimi.contracts import Backend, ContextSampler
from openkimi.cutting import LONG, cut_long_messages, keep_messages
from openkimi.documents import DocumentInfo, Hit
from openkimi.errors import DocumentNotFound
from openkimi.memory import Memory
from openkimi.packing import Packed, pack
from openkimi.receipt import Receipt
from openkimi.sections import RagSection
from openkimi.turn import Ask, Turn

_RELEVANT_SIMILARITY = 0.32
_UNRELATED_SIMILARITY = 0.24
_FEWEST_HITS = 64
_SHORT_PASSAGE_TOKENS = 40


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt for each reasoning path, with the receipt of the first.

    ``contexts`` are the passages that each path could choose from, the most wanted first.
    """

    packs: tuple[Packed, ...]
    turn: Turn
    budget: Budget
    receipt: Receipt
    contexts: tuple[tuple[Hit, ...], ...] = ()

    @property
    def question(self) -> str:
        """What was searched for."""
        return self.turn.question


class Preparation:
    """Turns what a caller asks into prompts that fit the window of ``window`` tokens."""

    def __init__(
        self, *, backend: Backend, memory: Memory, sampler: ContextSampler, rag: RagSection, window: int
    ) -> None:
        self._backend = backend
        self._memory = memory
        self._sampler = sampler
        self.top_k = rag.top_k
        self._rag = rag
        self._window = window

    async def prepare(self, ask: Ask, *, preloaded: Sequence[str] = (), paths: int = 1) -> Prepared:
        """Build the prompt of each reasoning path.

        Preloaded documents add passages only where these are relevant to the question. What stands before a
        suffix is no question: it stays as it is, with no passages and one path.

        Raises:
            DocumentNotFound: a document that the request names is not the tenant's.
        """
        limits = budgets.plan(
            self._backend,
            ask.request,
            window=self._window,
            max_context_tokens=self._rag.max_context_tokens,
        )
        if ask.request.suffix is not None and "suffix" in self._backend.features:
            return await self._unchanged(ask, keep_messages(ask, ()), limits, paths=1)
        turn, tokens = await self._cut(ask, limits, preloaded)
        turn = await self._search(turn, ask, limits)
        if not turn.documents and not turn.hits:
            return await self._unchanged(ask, turn, limits, paths, tokens)
        core = await self._core(turn, limits)
        contexts = self._contexts(turn, paths)
        packs = [
            await pack(self._backend, turn, context, limits, core=core, top_k=self._rag.top_k)
            for context in contexts
        ]
        return Prepared(
            packs=tuple(packs),
            turn=turn,
            budget=limits,
            receipt=await self._receipt(turn, packs, limits),
            contexts=tuple(map(tuple, contexts)),
        )

    async def infos(self, turn: Turn) -> dict[str, DocumentInfo]:
        """Tell what is known of the documents in scope, by their ids."""
        found = {id_: await self._memory.get(id_, turn.tenant) for id_ in turn.scope}
        return {id_: info for id_, info in found.items() if info is not None}

    async def _cut(self, ask: Ask, limits: Budget, preloaded: Sequence[str]) -> tuple[Turn, int | None]:
        """Tell documents from instructions, if the messages do not fit or document text is capped.

        The prompt's tokens come along where they had to be counted and the messages stay as they are.
        """
        named = (*ask.ingested, *preloaded) if ask.documents is None else await self._named(ask)
        stored = tuple(dict.fromkeys(named))
        capped = not await self._within_cap(ask)

        async def overflows(turn: Turn) -> bool:
            if capped and any(len(cut.message.text) >= LONG for cut in turn.cuts if not cut.documents):
                return True
            kept_free = min(limits.context, limits.prompt // 2) if turn.documents else 0
            limit = limits.prompt - kept_free
            return await budgets.count_within(self._backend, turn.skeleton(), limit) is None

        if not capped:
            tokens = await budgets.count_within(self._backend, ask.request, limits.prompt)
            if tokens is not None:
                return keep_messages(ask, stored), tokens
        return await cut_long_messages(ask, stored, overflows), None

    async def _within_cap(self, ask: Ask) -> bool:
        """Tell whether the messages that are long have no more tokens than document text may have."""
        cap = self._rag.max_context_tokens
        texts = [message.text for message in ask.request.messages if len(message.text) >= LONG]
        if cap is None or not texts:
            return True
        if sum(map(len, texts)) > cap * budgets.CHARACTERS_PER_TOKEN:
            return False
        return sum(await self._backend.count_tokens(texts)) <= cap

    async def _named(self, ask: Ask) -> Sequence[str]:
        for document_id in ask.documents or ():
            if await self._memory.get(document_id, ask.tenant) is None:
                raise DocumentNotFound(
                    f"there is no stored document '{document_id}'", param="openkimi.documents"
                )
        return ask.documents or ()

    async def _search(self, turn: Turn, ask: Ask, limits: Budget) -> Turn:
        if not turn.documents and not turn.stored:
            return turn
        for document in turn.documents:
            await self._memory.remember(document, turn.tenant)
        found = await self._memory.search(
            turn.question,
            turn.scope,
            tenant=turn.tenant,
            limit=max(_FEWEST_HITS, limits.context // _SHORT_PASSAGE_TOKENS),
            similarity_threshold=self._rag.similarity_threshold,
        )
        asked_for = {document.id for document in turn.documents} | {*(ask.documents or ()), *ask.ingested}
        hits, irrelevant = list[Hit](), list[Hit]()
        for hit in found:
            (hits if hit.document_id in asked_for or _is_relevant(hit) else irrelevant).append(hit)
        hits += await self._fallback(turn, hits)
        return msgspec.structs.replace(turn, hits=tuple(hits), irrelevant=tuple(irrelevant))

    async def _fallback(self, turn: Turn, found: Sequence[Hit]) -> list[Hit]:
        """Offer the densest passages of each sent document that has no hit."""
        answered = {hit.document_id for hit in found}
        silent = [document.id for document in turn.documents if document.id not in answered]
        return [hit for document_id in silent for hit in await self._densest(turn, document_id)]

    async def _core(self, turn: Turn, limits: Budget) -> list[Hit]:
        """Return the densest passages; a processor marks those that never belong here by density 0."""
        if not limits.core:
            return []
        densest = [hit for document in turn.documents for hit in await self._densest(turn, document.id)]
        return [hit for hit in densest if hit.chunk.density > 0]

    async def _densest(self, turn: Turn, document_id: str) -> list[Hit]:
        chunks = await self._memory.densest(document_id, turn.tenant)
        return [Hit(document_id=document_id, chunk=chunk, score=0.0) for chunk in chunks]

    def _contexts(self, turn: Turn, paths: int) -> Sequence[Sequence[Hit]]:
        if paths == 1:
            return [turn.hits]
        return self._sampler.sample(turn.hits, paths, seed=turn.request.seed or 0)

    async def _unchanged(
        self, ask: Ask, turn: Turn, limits: Budget, paths: int, tokens: int | None = None
    ) -> Prepared:
        if tokens is None:
            tokens = await self._backend.count_prompt(ask.request)
        packed = Packed(request=ask.request, prompt_tokens=tokens)
        receipt = Receipt(compressed=False, window=self._window, prompt_tokens=tokens, paths=paths)
        return Prepared(packs=(packed,) * paths, turn=turn, budget=limits, receipt=receipt)

    async def _receipt(self, turn: Turn, packs: Sequence[Packed], limits: Budget) -> Receipt:
        infos = await self.infos(turn)
        receipt = await receipt_of(self._backend, turn, packs[0], limits, infos)
        return msgspec.structs.replace(receipt, paths=len(packs))


def _is_relevant(hit: Hit) -> bool:
    """Judge a passage nobody asked for: near in meaning, or sharing words and not far in meaning."""
    similarity = 1.0 if hit.similarity is None else hit.similarity
    return similarity >= (_UNRELATED_SIMILARITY if hit.lexical else _RELEVANT_SIMILARITY)
