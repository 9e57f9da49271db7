"""Cuts an answer into deltas, one for each token, with made-up log-probabilities."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

from openkimi import (
    Delta,
    FinishReason,
    GenerateRequest,
    StopFilter,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    TopLogprob,
)
from openkimi_scripted.script import Answer
from openkimi_scripted.tokens import tokenize


def steps(answer: Answer, request: GenerateRequest, limit: int) -> tuple[list[Delta], FinishReason]:
    """Cut an answer into at most ``limit`` deltas of one token each.

    A tool call's id and name are one token, its arguments are as many as their text has.
    """
    text = _until_stop(answer.text, request.stop)
    tokens = [Delta(reasoning=token) for token in tokenize(answer.reasoning)]
    tokens += [_content(token, at, request) for at, token in enumerate(tokenize(text))]
    for index, call in enumerate(answer.calls):
        tokens += _call(index, call)
    if len(tokens) > limit:
        return tokens[:limit], "length"
    return tokens, "tool_calls" if answer.calls else "stop"


def gather(tokens: Iterable[Delta], size: int) -> Iterator[Delta]:
    """Join neighbouring deltas of content until each has ``size`` characters; the others pass through."""
    held: list[Delta] = []
    length = 0
    for token in tokens:
        if token.content:
            held.append(token)
            length += len(token.content)
        if held and (not token.content or length >= size):
            yield _joined(held)
            held, length = [], 0
        if not token.content:
            yield token
    if held:
        yield _joined(held)


def _until_stop(text: str, stop: Sequence[str]) -> str:
    if not stop:
        return text
    stopping = StopFilter(stop)
    shown = "".join(stopping.feed(token) for token in tokenize(text))
    return shown + stopping.flush()


def _content(token: str, at: int, request: GenerateRequest) -> Delta:
    if not request.logprobs:
        return Delta(content=token)
    logprob = -(zlib.crc32(f"{at} {token}".encode("utf-8", "replace")) % 1000) / 1000
    others = [(f"{token}~{rank}", logprob - rank) for rank in range(1, request.top_logprobs)]
    top = [(token, logprob), *others][: request.top_logprobs]
    chosen = TokenLogprob(
        token=token,
        logprob=logprob,
        bytes=_bytes(token),
        top_logprobs=tuple(
            TopLogprob(token=other, logprob=value, bytes=_bytes(other)) for other, value in top
        ),
    )
    return Delta(content=token, logprobs=(chosen,))


def _bytes(token: str) -> list[int]:
    return list(token.encode("utf-8", "replace"))


def _call(index: int, call: ToolCall) -> Iterator[Delta]:
    yield Delta(tool_calls=(ToolCallDelta(index=index, id=call.id, name=call.name),))
    for token in tokenize(call.arguments):
        yield Delta(tool_calls=(ToolCallDelta(index=index, arguments=token),))


def _joined(deltas: Sequence[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return Delta(
        content="".join(delta.content for delta in deltas),
        logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
    )
