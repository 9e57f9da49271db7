"""From a question to its answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import msgspec

from openkimi.contracts import Backend, Synthesizer
from openkimi.generation import generate, refuse_unserved
from openkimi.messages import Delta, GenerateRequest, Message
from openkimi.notes import Read, Reader
from openkimi.packing import Packed
from openkimi.paths import Path, answer_of, walk
from openkimi.preparation import Preparation, Prepared
from openkimi.progress import Progress
from openkimi.reading import Reading
from openkimi.receipt import Receipt
from openkimi.streams import closing, merge
from openkimi.turn import Ask

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
        mpr_candidates: int = 1,
    ) -> None:
        self._backend = backend
        self._preparation = preparation
        self._synthesizer = synthesizer
        self._window = window
        self._reader = Reader(backend, window)
        self._mpr_candidates = mpr_candidates

    async def run(self, ask: Ask, *, preloaded: Sequence[str] = ()) -> AsyncGenerator[Event, None]:
        """Yield a receipt, then the deltas of every answer asked for, each with its ``index``.

        What long work is done before comes as progress. With several paths a second receipt, which holds how
        well they agree, replaces the first; so does one after a reading of the whole, which has its notes.

        Raises:
            RequestError: the request cannot be served as it is.
            BackendError: the model failed.
        """
        refuse_unserved(ask.request, self._backend)
        paths = ask.mpr_candidates or self._mpr_candidates
        prepared: Prepared | None = None
        steps = self._preparation.steps(ask, preloaded=preloaded, paths=paths)
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Prepared):
                    prepared = step
                else:
                    yield step
        assert prepared is not None
        yield prepared.receipt
        if prepared.reading is not None:
            async with aclosing(self._read(prepared.reading, ask.request.seed)) as events:
                async for event in events:
                    yield event
            return
        choices = [self._choice(prepared, ask.request, index) for index in range(ask.n)]
        async with closing(merge(choices) if ask.n > 1 else choices[0]) as events:
            async for event in events:
                yield event

    async def _read(self, reading: Reading, seed: int | None) -> AsyncGenerator[Event, None]:
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
        async with aclosing(self._generate(read.packed, seed)) as deltas:
            async for delta in deltas:
                if delta.usage is None:
                    yield delta
                else:
                    yield msgspec.structs.replace(delta, usage=read.spent + delta.usage)

    def _choice(self, prepared: Prepared, request: GenerateRequest, index: int) -> AsyncIterator[Event]:
        first = index * len(prepared.packs)
        paths = [self._path(packed, _seed(request, first + at)) for at, packed in enumerate(prepared.packs)]
        answer: AsyncIterator[Event] = (
            paths[0].start() if len(paths) == 1 else self._reason(prepared, paths, request)
        )
        return _numbered(answer, index) if index else answer

    async def _reason(
        self, prepared: Prepared, paths: Sequence[Path], request: GenerateRequest
    ) -> AsyncGenerator[Event, None]:
        """Run the paths and make one answer of them."""

        def ask_model(messages: Sequence[Message]) -> AsyncIterator[Delta]:
            return self._single(msgspec.structs.replace(request, messages=tuple(messages)))

        walked = await walk(paths)
        candidates = [path.candidate for path in walked]
        synthesis = await self._synthesizer.synthesize(prepared.question, candidates, ask_model)
        yield msgspec.structs.replace(prepared.receipt, agreement=synthesis.agreement)
        async with aclosing(answer_of(walked, synthesis)) as deltas:
            async for delta in deltas:
                yield delta

    async def _single(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        prepared = await self._preparation.prepare(Ask(request=request, documents=()))
        async with aclosing(self._generate(prepared.packs[0], request.seed)) as deltas:
            async for delta in deltas:
                yield delta

    def _path(self, packed: Packed, seed: int | None) -> Path:
        return Path(start=lambda: self._generate(packed, seed), context=packed.passages)

    def _generate(self, packed: Packed, seed: int | None) -> AsyncGenerator[Delta, None]:
        request = packed.request
        if request.seed != seed:
            request = msgspec.structs.replace(request, seed=seed)
        return generate(self._backend, request, prompt_tokens=packed.prompt_tokens, window=self._window)


async def _numbered(answer: AsyncIterator[Event], index: int) -> AsyncGenerator[Event, None]:
    async with closing(answer) as events:
        async for event in events:
            yield msgspec.structs.replace(event, index=index) if isinstance(event, Delta) else event


def _seed(request: GenerateRequest, number: int) -> int | None:
    """Give every path of every choice a seed of its own, the same on every run."""
    return None if request.seed is None else request.seed + number
