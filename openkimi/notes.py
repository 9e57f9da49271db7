"""Has the model read a text part by part, and makes one prompt of its notes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
import structlog

from openkimi.contracts import Backend
from openkimi.documents import Hit
from openkimi.gathering import Choice
from openkimi.generation import generate
from openkimi.messages import GenerateRequest, Usage
from openkimi.packing import Packed
from openkimi.progress import Progress, logging
from openkimi.reading import NOTE_MARGIN, Reading
from openkimi.receipt import Receipt
from openkimi.wording import says_nothing

log = structlog.get_logger()

_AT_ONCE = 4


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a reading: the last prompt, the passages behind it, its receipt, what notes have cost."""

    packed: Packed
    passages: tuple[Hit, ...]
    receipt: Receipt
    spent: Usage


class Reader:
    """Reads with a backend whose prompts and answers have ``window`` tokens."""

    def __init__(self, backend: Backend, window: int) -> None:
        self._backend = backend
        self._window = window

    async def read(self, reading: Reading) -> AsyncGenerator[Progress | Read, None]:
        """Take notes of each part, condense them until they fit, and yield the prompt that has them.

        Each answer of the model is followed by its progress. Closing it ends the answers that are running.

        Raises:
            BackendError: the model failed.
        """
        log.info("reading", parts=len(reading.parts), calls=reading.calls, tokens=reading.tokens)
        record, spent, noted = logging(), Usage(), dict[int, str]()
        async with aclosing(self._noted(reading, noted)) as steps:
            async for progress in steps:
                spent += progress.spent or Usage()
                record(progress)
                yield progress
        notes = [f"[{at + 1}] {noted[at]}" for at in sorted(noted)]
        async with aclosing(self._condensed(reading, notes)) as steps:
            async for progress in steps:
                spent += progress.spent or Usage()
                record(progress)
                yield progress
        packed = await self._packed(reading, notes)
        hits = [reading.parts[at].hit for at in sorted(noted)]
        receipt = reading.receipt(
            hits, prompt_tokens=packed.prompt_tokens, context_tokens=packed.context_tokens
        )
        passages = tuple(hit for at in sorted(noted) for hit in reading.parts[at].passages)
        yield Read(packed=packed, passages=passages, receipt=receipt, spent=spent)

    async def _noted(self, reading: Reading, noted: dict[int, str]) -> AsyncGenerator[Progress, None]:
        """Read each part, and gather what is noted by the number of the part."""
        progress = Progress(
            stage="reading", done=0, total=len(reading.parts), calls=reading.calls, tokens=reading.tokens
        )
        yield progress
        left = reading.tokens
        async with aclosing(self._each([reading.to_read(at) for at in range(progress.total)])) as answers:
            async for at, answer in answers:
                if not says_nothing(answer.text):
                    noted[at] = answer.text.strip()
                done = progress.done + 1
                left = max(0, left - answer.usage.prompt_tokens) if done < progress.total else 0
                progress = msgspec.structs.replace(progress, done=done, tokens=left, spent=answer.usage)
                yield progress

    async def _condensed(self, reading: Reading, notes: list[str]) -> AsyncGenerator[Progress, None]:
        """Condense notes in rounds, in their place, until they fit into the last prompt."""
        while len(notes) > 1 and sum(sizes := await self._sizes(notes)) > reading.final:
            groups = _groups(notes, sizes, reading.room)
            notes[:] = [""] * len(groups)
            progress = Progress(stage="condensing", done=0, total=len(groups), calls=reading.calls)
            async with aclosing(self._each([reading.to_condense(group) for group in groups])) as answers:
                async for at, answer in answers:
                    notes[at] = answer.text.strip()
                    progress = msgspec.structs.replace(progress, done=progress.done + 1, spent=answer.usage)
                    yield progress
            notes[:] = filter(None, notes)

    async def _each(self, requests: Sequence[GenerateRequest]) -> AsyncGenerator[tuple[int, Choice], None]:
        """Answer requests, a few at once, and yield each answer with its number as it comes."""
        room = asyncio.Semaphore(min(self._backend.concurrency or _AT_ONCE, _AT_ONCE))

        async def numbered(at: int, request: GenerateRequest) -> tuple[int, Choice]:
            async with room:
                return at, await self._answer(request)

        tasks = [asyncio.create_task(numbered(at, request)) for at, request in enumerate(requests)]
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            for pending in tasks:
                pending.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: GenerateRequest) -> Choice:
        tokens = await self._backend.count_prompt(request)
        answer = Choice()
        deltas = generate(self._backend, request, prompt_tokens=tokens, window=self._window)
        async with aclosing(deltas):
            async for delta in deltas:
                answer.add(delta)
        return answer

    async def _sizes(self, notes: Sequence[str]) -> list[int]:
        return [size + NOTE_MARGIN for size in await self._backend.count_tokens(notes)]

    async def _packed(self, reading: Reading, notes: Sequence[str]) -> Packed:
        """Put the notes where the first of the documents stood."""
        text = reading.wording.notes + "\n\n".join(notes) if notes else reading.wording.nothing
        [tokens] = await self._backend.count_tokens([text])
        while tokens > reading.final and len(text) > 1:
            text = text[: min(len(text) - 1, len(text) * reading.final // tokens)]
            [tokens] = await self._backend.count_tokens([text])
        turn, read = reading.turn, {part.hit.document_id for part in reading.parts}
        place = next(at for at, cut in enumerate(turn.cuts) if read.intersection(cut.documents))
        request = turn.with_passages({place: text})
        prompt_tokens = await self._backend.count_prompt(request)
        return Packed(request=request, prompt_tokens=prompt_tokens, context_tokens=tokens)


def _groups(notes: Sequence[str], sizes: Sequence[int], room: int) -> list[list[str]]:
    """Put neighbouring notes together as far as there is room, at least two in each group but the last."""
    groups, filled = [[notes[0]]], sizes[0]
    for note, size in zip(notes[1:], sizes[1:], strict=True):
        if filled + size > room and len(groups[-1]) > 1:
            groups.append([])
            filled = 0
        groups[-1].append(note)
        filled += size
    return groups
