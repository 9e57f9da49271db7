"""Multi-path reasoning: several candidates over different contexts, made into one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec
import structlog

from openkimi.contracts import Candidate, Synthesis
from openkimi.documents import Hit
from openkimi.errors import BackendError
from openkimi.gathering import Choice
from openkimi.messages import Delta, Usage
from openkimi.streams import closing

log = structlog.get_logger()


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One reasoning path: how to start it, and the passages it reads."""

    start: Callable[[], AsyncIterator[Delta]]
    context: tuple[Hit, ...]


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a path: its candidate, and the deltas that it was made of."""

    candidate: Candidate
    deltas: tuple[Delta, ...]


async def walk(paths: Sequence[Path]) -> list[Walked]:
    """Run the paths side by side and gather those that come through, in the order of the paths.

    Raises:
        BackendError: all of them failed; it is the first one's error.
    """
    tasks = [asyncio.create_task(_walk(index, path)) for index, path in enumerate(paths)]
    try:
        results = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, BackendError):
            raise failure
        log.warning("path_failed", error=type(failure).__name__)
        log.debug("path_failed_because", reason=failure.message)
    walked = [result for result in results if isinstance(result, Walked)]
    if not walked:
        raise failures[0]
    return walked


async def answer_of(walked: Sequence[Walked], synthesis: Synthesis) -> AsyncGenerator[Delta, None]:
    """Yield the answer, its last delta counting what all paths cost.

    A candidate that was chosen as it is comes delta by delta as the model gave it, so that nothing of it,
    such as log-probabilities, is lost.
    """
    spent = sum((path.candidate.usage for path in walked), start=Usage())
    chosen = next((path for path in walked if path.candidate.index == synthesis.chosen), None)
    if chosen is not None:
        for delta in chosen.deltas:
            yield delta if delta.finish_reason is None else msgspec.structs.replace(delta, usage=spent)
        return
    async with closing(synthesis.answer) as deltas:
        async for delta in deltas:
            if delta.finish_reason is None:
                yield delta
            else:
                yield msgspec.structs.replace(delta, usage=spent + (delta.usage or Usage()))


def read_for(walked: Sequence[Walked], synthesis: Synthesis) -> tuple[Hit, ...]:
    """Return the passages behind the answer: those of the chosen path, of all where it was written anew."""
    read = {
        hit.place: hit
        for path in walked
        if synthesis.chosen in {None, path.candidate.index}
        for hit in path.candidate.context
    }
    return tuple(read.values())


async def _walk(index: int, path: Path) -> Walked:
    deltas: list[Delta] = []
    answer = Choice()
    async with closing(path.start()) as items:
        async for delta in items:
            deltas.append(delta)
            answer.add(delta)
    candidate = Candidate(
        index=index,
        text=answer.text,
        tool_calls=answer.tool_calls,
        context=path.context,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
    )
    return Walked(candidate=candidate, deltas=tuple(deltas))
