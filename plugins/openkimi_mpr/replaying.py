"""Answers as a stream: a candidate as it is, or what the model writes from drafts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from openkimi import BackendError, Candidate, Delta, Generate, ToolCallDelta
from openkimi_mpr.drafts import messages_of


async def replayed(candidate: Candidate) -> AsyncIterator[Delta]:
    """Stream a candidate whole, its tool calls included."""
    if candidate.text:
        yield Delta(content=candidate.text)
    if candidate.tool_calls:
        calls = (
            ToolCallDelta(index=index, id=call.id, name=call.name, arguments=call.arguments)
            for index, call in enumerate(candidate.tool_calls)
        )
        yield Delta(tool_calls=tuple(calls))
    yield Delta(finish_reason=candidate.finish_reason)


async def written(
    question: str, drafts: Sequence[Candidate], generate: Generate, fallback: Candidate
) -> AsyncIterator[Delta]:
    """Stream what the model writes from the drafts; the chosen draft if it fails before its first word."""
    deltas = generate(messages_of(question, [draft.text for draft in drafts]))
    started = False
    try:
        async for delta in deltas:
            started = True
            yield delta
    except BackendError:
        if started:
            raise
        async for delta in replayed(fallback):
            yield delta
    finally:
        if isinstance(deltas, AsyncGenerator):
            await deltas.aclose()
