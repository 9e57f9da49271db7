"""From a question to its answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import msgspec

from openkimi.budget import seal
from openkimi.citing import Citing
from openkimi.contracts import Backend, Synthesizer
from openkimi.explanation import Explanation, explain
from openkimi.generation import generate, refuse_unserved
from openkimi.messages import Delta, GenerateRequest, Message
from openkimi.notes import Read, Reader
from openkimi.packing import Packed
from openkimi.paths import Path
from openkimi.preparation import Preparation, Prepared, last_of
from openkimi.progress import Progress
from openkimi.reading import Reading
from openkimi.reasoning import Reasoner
from openkimi.receipt import Receipt
from openkimi.sections import MprSection
from openkimi.spending import SharedPrompts, Spending
from openkimi.streams import closing, merge
from openkimi.turn import Ask, new_share

AnswerPart = Delta | Receipt
"""What an answer is made of: the receipt of its prompt, then its deltas."""

Event = AnswerPart | Progress
"""What comes while a question is answered: how far the work on a long text is, then the answer."""


class Pipeline:
    """Answers questions with one backend, over one path or several."""

    def __init__(
        self,
        *,
        backend: Backend,
        preparation: Preparation,
        synthesizer: Synthesizer,
        window: int,
        mpr: MprSection,
        mpr_candidates: int = 1,
    ) -> None:
        self._backend = backend
        self._preparation = preparation
        self._reasoner = Reasoner(backend=backend, synthesizer=synthesizer, mpr=mpr)
        self._window = window
        self._reader = Reader(backend, window)
        self._mpr_candidates = mpr_candidates

    async def run(self, ask: Ask, *, preloaded: Sequence[str] = ()) -> AsyncGenerator[Event, None]:
        """Yield a receipt, then the deltas of every answer asked for, each with its ``index``.

        What long work is done before comes as progress. A receipt that comes later replaces the one before:
        after a reading of the whole one with its notes, and before the last delta of each answer one with its
        citations and with what its paths came to.

        Raises:
            RequestError: the request cannot be served as it is.
            BackendError: the model failed.
        """
        prepared: Prepared | None = None
        ask = ask.sharing(new_share())
        async with aclosing(self._steps(ask, preloaded)) as steps:
            async for step in steps:
                if isinstance(step, Prepared):
                    prepared = step
                else:
                    yield step
        assert prepared is not None
        yield prepared.receipt
        if prepared.reading is not None:
            async with aclosing(self._read(prepared.reading, ask)) as events:
                async for event in events:
                    yield event
            return
        citing = Citing(prepared.turn, prepared.receipt, wanted=ask.citations)
        prompts = SharedPrompts()
        choices = [self._choice(prepared, citing, ask, prompts, index) for index in range(ask.n)]
        async with closing(merge(choices) if ask.n > 1 else choices[0]) as events:
            async for event in events:
                yield event

    def _steps(self, ask: Ask, preloaded: Sequence[str]) -> AsyncGenerator[Progress | Prepared, None]:
        refuse_unserved(ask.request, self._backend)
        paths = ask.mpr_candidates or self._mpr_candidates
        return self._preparation.steps(ask, preloaded=preloaded, paths=paths)

    async def explain(self, ask: Ask, *, preloaded: Sequence[str] = (), limit: int = 100) -> Explanation:
        """Tell how the prompts that :meth:`run` would send come about, without asking the model.

        Raises:
            RequestError: the request cannot be served as it is.
        """
        prepared = await last_of(self._steps(ask, preloaded))
        requests = [
            seal(
                self._backend,
                _seeded(packed.request, _seed(ask.request, at)),
                prompt_tokens=packed.prompt_tokens,
                window=self._window,
            )
            for at, packed in enumerate(prepared.packs)
        ]
        infos = await self._preparation.infos(prepared.turn)
        return explain(prepared, requests, infos, limit=limit)

    async def _read(self, reading: Reading, ask: Ask) -> AsyncGenerator[Event, None]:
        """Have all of it read, then answer from the notes; the last delta counts what all of it cost."""
        read: Read | None = None
        async with aclosing(self._reader.read(reading)) as steps:
            async for step in steps:
                if isinstance(step, Read):
                    read = step
                else:
                    yield step
        assert read is not None
        yield read.receipt
        citing = Citing(reading.turn, read.receipt, wanted=ask.citations)
        answer = citing.follow(self._generate(read.packed, ask.request.seed), read.passages, choice=0)
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Delta) and event.usage is not None:
                    yield msgspec.structs.replace(event, usage=read.spent + event.usage)
                else:
                    yield event

    def _choice(
        self, prepared: Prepared, citing: Citing, ask: Ask, prompts: SharedPrompts, index: int
    ) -> AsyncIterator[Event]:
        first = index * len(prepared.packs)
        seeds = [_seed(ask.request, first + at) for at in range(len(prepared.packs))]
        paths = [self._path(packed, seed) for packed, seed in zip(prepared.packs, seeds, strict=True)]
        answer: AsyncIterator[Event]
        if len(paths) == 1:
            deltas = paths[0].start()
            if ask.n > 1:
                deltas = _counted_once(deltas, prompts)
            answer = citing.follow(deltas, paths[0].context, choice=index)
        else:

            def ask_model(messages: Sequence[Message], calls: list[Spending]) -> AsyncIterator[Delta]:
                return self._single(ask, messages, calls)

            answer = self._reasoner.answer(ask, prepared, paths, citing, ask_model, prompts, choice=index)
        return _numbered(answer, index) if index else answer

    async def _single(
        self, ask: Ask, messages: Sequence[Message], calls: list[Spending]
    ) -> AsyncGenerator[Delta, None]:
        """Ask the model something else than the request does, under its settings and without its tools."""
        request = msgspec.structs.replace(ask.request, messages=tuple(messages), tools=(), suffix=None)
        own = Ask(request=request, tenant=ask.tenant, documents=())
        packed = (await self._preparation.prepare(own)).packs[0]
        call = Spending(packed.prompt_tokens)
        calls.append(call)
        async with aclosing(self._generate(packed, request.seed)) as deltas:
            async for delta in deltas:
                call.add(delta)
                yield delta

    def _path(self, packed: Packed, seed: int | None) -> Path:
        return Path(
            start=lambda: self._generate(packed, seed),
            context=packed.passages,
            prompt_tokens=packed.prompt_tokens,
        )

    def _generate(self, packed: Packed, seed: int | None) -> AsyncGenerator[Delta, None]:
        request = _seeded(packed.request, seed)
        return generate(self._backend, request, prompt_tokens=packed.prompt_tokens, window=self._window)


async def _counted_once(answer: AsyncIterator[Delta], prompts: SharedPrompts) -> AsyncGenerator[Delta, None]:
    """Leave out of an answer's usage the prompt that another answer to the same has counted."""
    async with closing(answer) as deltas:
        async for delta in deltas:
            usage = delta.usage and prompts.once(0, delta.usage)
            yield delta if usage is delta.usage else msgspec.structs.replace(delta, usage=usage)


async def _numbered(answer: AsyncIterator[Event], index: int) -> AsyncGenerator[Event, None]:
    async with closing(answer) as events:
        async for event in events:
            yield msgspec.structs.replace(event, index=index) if isinstance(event, Delta) else event


def _seeded(request: GenerateRequest, seed: int | None) -> GenerateRequest:
    return request if request.seed == seed else msgspec.structs.replace(request, seed=seed)


def _seed(request: GenerateRequest, number: int) -> int | None:
    """Give every path of every choice a seed of its own, the same on every run."""
    return None if request.seed is None else request.seed + number
