"""Multi-path reasoning: several candidates over different contexts, made into one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec
import structlog

from openkimi.contracts import Candidate
from openkimi.documents import Hit
from openkimi.errors import BackendError
from openkimi.messages import Delta, ToolCall, Usage
from openkimi.streams import closing

log = structlog.get_logger()


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One reasoning path: how to start it, and the passages it reads."""

    start: Callable[[], AsyncIterator[Delta]]
    context: tuple[Hit, ...]


async def candidates_of(paths: Sequence[Path]) -> list[Candidate]:
    """Run the paths side by side and gather those that come through, in the order of the paths.

    Raises:
        BackendError: all of them failed; it is the first one's error.
    """
    tasks = [asyncio.create_task(_candidate(index, path)) for index, path in enumerate(paths)]
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
        log.warning("path_failed", error=failure.message)
    candidates = [result for result in results if isinstance(result, Candidate)]
    if not candidates:
        raise failures[0]
    return candidates


async def with_usage_of(
    candidates: Sequence[Candidate], answer: AsyncIterator[Delta]
) -> AsyncGenerator[Delta, None]:
    """Yield an answer made of candidates, its last delta counting what all of them cost."""
    spent = sum((candidate.usage for candidate in candidates), start=Usage())
    async with closing(answer) as deltas:
        async for delta in deltas:
            if delta.finish_reason is None:
                yield delta
            else:
                yield msgspec.structs.replace(delta, usage=spent + (delta.usage or Usage()))


async def _candidate(index: int, path: Path) -> Candidate:
    text: list[str] = []
    calls: dict[int, ToolCall] = {}
    last = Delta(finish_reason="stop")
    async with closing(path.start()) as deltas:
        async for delta in deltas:
            text.append(delta.content)
            for piece in delta.tool_calls:
                known = calls.get(piece.index, ToolCall(id="", name="", arguments=""))
                calls[piece.index] = ToolCall(
                    id=known.id or piece.id or "",
                    name=known.name or piece.name or "",
                    arguments=known.arguments + piece.arguments,
                )
            if delta.finish_reason:
                last = delta
    return Candidate(
        index=index,
        text="".join(text),
        tool_calls=tuple(call for _, call in sorted(calls.items())),
        context=path.context,
        finish_reason=last.finish_reason or "stop",
        usage=last.usage or Usage(),
    )
