"""Reads the chunks of a chat completion, and whole completions, leniently."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from openkimi import BackendError, Delta, FinishReason, TokenLogprob, ToolCallDelta, TopLogprob, Usage
from openkimi_openai.failure import Failure
from openkimi_openai.sse import Event

DONE = "[DONE]"
_SHORT = 16
_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Token(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list[_Token] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Piece(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Piece | None = None
    message: _Piece | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_NOTHING = _Piece()
_SILENCE = Delta()
_decoder = msgspec.json.Decoder(_Chunk)


class Answer:
    """Makes deltas of what a server sends: events in, until :attr:`done`, and :meth:`last` at the end."""

    def __init__(self, failure: Failure, host: str) -> None:
        self._failure = failure
        self._host = host
        self._calls: set[int] = set()
        self.done = False
        self._reason: str | None = None
        self._usage: Usage | None = None

    def take(self, event: Event) -> Delta | None:
        """Read one event; None when it holds nothing to show.

        Raises:
            BackendError: the event is an error, or not a chunk of a completion.
        """
        if len(event.data) < _SHORT and event.data.strip() in ("", DONE):
            self.done = self.done or DONE in event.data
            return None
        chunk = self._decode(event)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if not choice.index:
                return self._delta(choice)
        return None

    def last(self) -> Delta:
        """Make the delta that ends the answer.

        Raises:
            BackendError: the stream ended before the answer did.
        """
        if self._reason is None and not self.done:
            raise BackendError(f"{self._host} ended the stream in the middle of the answer")
        default: FinishReason = "tool_calls" if self._reason is None and self._calls else "stop"
        return Delta(finish_reason=_REASONS.get(self._reason or "", default), usage=self._usage)

    def _decode(self, event: Event) -> _Chunk:
        try:
            chunk = _decoder.decode(event.data)
        except msgspec.DecodeError as error:
            if event.event != "error":
                raise BackendError(f"{self._host} sent what is no chunk of a chat completion") from error
            chunk = _Chunk(error=event.data)
        if chunk.error or event.event == "error":
            said = self._failure.said(chunk.error or _object(event.data)) or "no reason given"
            raise BackendError(f"{self._host} failed in its answer: {said}")
        return chunk

    def _delta(self, choice: _Choice) -> Delta | None:
        self._reason = choice.finish_reason or self._reason
        piece = choice.delta or choice.message or _NOTHING
        tokens = choice.logprobs.content if choice.logprobs else None
        delta = Delta(
            content=_text(piece.content) or _text(piece.refusal),
            reasoning=_text(piece.reasoning_content) or _text(piece.reasoning),
            tool_calls=tuple(map(self._call, piece.tool_calls)) if piece.tool_calls else (),
            logprobs=tuple(map(_logprob, tokens)) if tokens else (),
        )
        return None if delta == _SILENCE else delta

    def _call(self, call: _Call) -> ToolCallDelta:
        """Give a call its index and id where the server forgot them, and its name only once."""
        function = call.function or _Function()
        index = call.index
        if index is None:
            index = len(self._calls) if function.name else max(len(self._calls) - 1, 0)
        arguments = function.arguments if function.arguments is not None else ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        if index in self._calls:
            return ToolCallDelta(index=index, arguments=arguments)
        self._calls.add(index)
        made_up = f"call_{uuid.uuid4().hex[:24]}"
        return ToolCallDelta(
            index=index, id=call.id or made_up, name=function.name or "", arguments=arguments
        )


def _object(data: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data


def _text(value: Any) -> str:
    """Read a text, or the text parts of a list."""
    if value is None or isinstance(value, str):
        return value or ""
    parts = value if isinstance(value, list) else ()
    return "".join(_text(part.get("text")) for part in parts if isinstance(part, dict))


def _logprob(token: _Token) -> TokenLogprob:
    return TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        bytes=token.bytes,
        top_logprobs=tuple(
            TopLogprob(token=other.token, logprob=other.logprob, bytes=other.bytes)
            for other in token.top_logprobs or ()
        ),
    )


def _usage(usage: _Usage) -> Usage:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=(prompt.cached_tokens if prompt else None) or 0,
        reasoning_tokens=(completion.reasoning_tokens if completion else None) or 0,
    )
