"""Builds the prompt: unchanged where the messages fit, out of the best passages where they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from openkimi import budget as budgets
from openkimi.accounting import receipt_of
from openkimi.budget import Budget
from openkimi.contracts import Backend, ContextSampler
from openkimi.cutting import LONG, cut_long_messages, keep_messages
from openkimi.degrading import gathering, leave_out
from openkimi.documents import DocumentInfo, Hit
from openkimi.errors import DocumentNotFound
from openkimi.finding import Finder
from openkimi.memory import Memory
from openkimi.packing import Packed, pack
from openkimi.progress import Progress, watched
from openkimi.reading import Planner, Reading
from openkimi.receipt import Receipt
from openkimi.sections import RagSection
from openkimi.turn import Ask, Turn

_SAMPLED = 200


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt for each reasoning path, with the receipt of the first.

    ``contexts`` are the passages that each path could choose from, the most wanted first. Where a text is to
    be read from beginning to end, ``reading`` has the plan and there are no packs yet.
    """

    packs: tuple[Packed, ...]
    turn: Turn
    budget: Budget
    receipt: Receipt
    contexts: tuple[tuple[Hit, ...], ...] = ()
    reading: Reading | None = None

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
        self._finder = Finder(backend=backend, memory=memory, rag=rag)
        self._planner = Planner(backend=backend, memory=memory, rag=rag, window=window)
        self._rag = rag
        self._window = window

    async def prepare(self, ask: Ask, *, preloaded: Sequence[str] = (), paths: int = 1) -> Prepared:
        """Build the prompt of each reasoning path, as :meth:`steps` does."""
        return await last_of(self.steps(ask, preloaded=preloaded, paths=paths))

    async def steps(
        self, ask: Ask, *, preloaded: Sequence[str] = (), paths: int = 1
    ) -> AsyncGenerator[Progress | Prepared, None]:
        """Build the prompt of each reasoning path, and tell on the way how far the work on new documents is.

        Preloaded documents add passages only where these are relevant to the question. What stands before a
        suffix is no question: it stays as it is, with no passages and one path.

        Raises:
            DocumentNotFound: a document that the request names is not the tenant's.
            RequestError: reading all of it takes more answers of the model than are allowed.
        """
        limits = budgets.plan(
            self._backend,
            ask.request,
            window=self._window,
            max_context_tokens=self._rag.max_context_tokens,
        )
        if ask.request.suffix is not None and "suffix" in self._backend.features:
            yield await self._unchanged(ask, keep_messages(ask, ()), limits, paths=1)
            return
        turn, tokens = await self._cut(ask, limits, preloaded)
        for document in turn.documents:
            remember = partial(self._memory.remember, document, turn.tenant)
            async with aclosing(watched(remember)) as told:
                async for progress in told:
                    yield progress
        yield await self._build(turn, ask, limits, paths, tokens)

    async def _build(self, turn: Turn, ask: Ask, limits: Budget, paths: int, tokens: int | None) -> Prepared:
        """Find passages in the documents that are still there, and make the prompts of these."""
        infos = await self.infos(turn)
        turn = msgspec.structs.replace(turn, stored=tuple(id_ for id_ in turn.stored if id_ in infos))
        if ask.mode == "exhaustive" and (reading := await self._planned(turn, ask, limits, infos)):
            return Prepared(packs=(), turn=turn, budget=limits, receipt=reading.receipt(), reading=reading)
        with gathering() as degraded:
            found = await self._finder.find(turn, ask, limits)
        turn = msgspec.structs.replace(turn, hits=found.hits, irrelevant=found.irrelevant)
        if not turn.documents and not turn.hits:
            return await self._unchanged(ask, turn, limits, paths, tokens)
        core = await self._core(turn, limits) if found.mode != "summary" else []
        with gathering() as also:
            contexts = await self._contexts(turn, paths)
        few = None if found.mode == "summary" else limits.passages
        packs = [
            await pack(self._backend, turn, context, limits, core=core, top_k=self._rag.top_k or most)
            for context, most in zip(contexts, (few, *[None] * (paths - 1)), strict=True)
        ]
        receipt = await receipt_of(self._backend, turn, packs[0], limits, infos)
        kept = worth_walking(packs)
        return Prepared(
            packs=tuple(packs[at] for at in kept),
            turn=turn,
            budget=limits,
            receipt=msgspec.structs.replace(
                receipt, mode=found.mode, paths=len(kept), degraded=(*degraded, *also)
            ),
            contexts=tuple(tuple(contexts[at]) for at in kept),
        )

    async def infos(self, turn: Turn) -> dict[str, DocumentInfo]:
        """Tell what is known of the documents in scope, by their ids."""
        found = {id_: await self._memory.get(id_, turn.tenant) for id_ in turn.scope}
        return {id_: info for id_, info in found.items() if info is not None}

    async def _planned(
        self, turn: Turn, ask: Ask, limits: Budget, infos: Mapping[str, DocumentInfo]
    ) -> Reading | None:
        """Plan to read what was asked about, or else what is preloaded; None where there is nothing."""
        documents = self._finder.asked_for(turn, ask) or turn.scope
        if not documents:
            return None
        reading = await self._planner.plan(turn, ask, documents, limits, infos)
        return reading if reading.parts else None

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

    async def _core(self, turn: Turn, limits: Budget) -> list[Hit]:
        """Return the densest passages; a processor marks those that never belong here by density 0."""
        if not limits.core:
            return []
        densest = [
            hit for document in turn.documents for hit in await self._finder.densest(turn, document.id)
        ]
        return [hit for hit in densest if hit.chunk.density > 0]

    async def _contexts(self, turn: Turn, paths: int) -> Sequence[Sequence[Hit]]:
        """Order the best 200 hits for each path; the others, which may be thousands, follow as they are.

        They do not follow a context that leaves out some of the best. Without a sampler that works all paths
        have the same order, and differ by their seeds.
        """
        if paths == 1:
            return [turn.hits]
        best, rest = turn.hits[:_SAMPLED], turn.hits[_SAMPLED:]
        seed = turn.request.seed or 0
        try:
            contexts = await asyncio.to_thread(self._sampler.sample, best, paths, seed=seed)
        except Exception as error:  # noqa: BLE001 - it is a plugin's
            leave_out("sampler", self._sampler, "sample", error)
            return [turn.hits] * paths
        return [(*context, *rest) if len(context) == len(best) else tuple(context) for context in contexts]

    async def _unchanged(
        self, ask: Ask, turn: Turn, limits: Budget, paths: int, tokens: int | None = None
    ) -> Prepared:
        if tokens is None:
            tokens = await self._backend.count_prompt(ask.request)
        packs = [Packed(request=ask.request, prompt_tokens=tokens)] * paths
        packs = [packs[at] for at in worth_walking(packs)]
        receipt = Receipt(compressed=False, window=self._window, prompt_tokens=tokens, paths=len(packs))
        return Prepared(packs=tuple(packs), turn=turn, budget=limits, receipt=receipt)


def worth_walking(packs: Sequence[Packed]) -> list[int]:
    """List the paths whose answers can differ: at temperature 0 an equal prompt has an equal answer."""
    if packs[0].request.temperature > 0:
        return list(range(len(packs)))
    requests = [packed.request for packed in packs]
    return [at for at, request in enumerate(requests) if request not in requests[:at]]


async def last_of(steps: AsyncGenerator[Progress | Prepared, None]) -> Prepared:
    """Return the prompts at the end of the steps that lead to them."""
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, Prepared):
                return step
    raise AssertionError("the last step is the prompt")
