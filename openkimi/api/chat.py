"""Chat completions: an answer as one ``chat.completion``, or as chunks of one."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, UnsetType

from openkimi.api import schemas as wire
from openkimi.api.convert import ask_of, delta_of, logprobs_of, tool_call_of, usage_of
from openkimi.api.functions import (
    asks_for_functions,
    chunk_with_function_call,
    completion_with_function_call,
)
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import generates
from openkimi.api.sse import data
from openkimi.gathering import Answer, Choice
from openkimi.messages import Delta, FinishReason, Usage
from openkimi.pipeline import AnswerPart
from openkimi.receipt import Receipt

DONE = b"data: [DONE]\n\n"
_MARK = "text"
_encoder = msgspec.json.Encoder()
_OPERATION = generates(wire.ChatCompletionRequest, wire.ChatCompletion, events=wire.ChatCompletionChunk)


def chat_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``POST /v1/chat/completions``."""

    @post("/v1/chat/completions", status_code=200, operation_class=_OPERATION)
    async def create_chat_completion(request: Request[Any, Any, Any]) -> Response[Any]:
        """Answer a conversation whose messages may be longer than the model's window."""
        body = await gateway.read(request, wire.ChatCompletionRequest)
        ask, header = ask_of(body), Header.new(body.model or gateway.engine.model_name)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            kind = FunctionChunkWriter if asks_for_functions(body) else ChunkWriter
            return await gateway.stream(request, ask, kind(header, n=ask.n, include_usage=usage))
        completion = completion_of(await gateway.answer(request, ask), header)
        if asks_for_functions(body):
            completion = completion_with_function_call(completion)
        return json_response(completion)

    return [create_chat_completion]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of one answer share."""

    id: str
    created: int
    model: str

    @classmethod
    def new(cls, model: str, prefix: str = "chatcmpl-") -> Header:
        """Make a header with an id of its own, of now; ``model`` is what the caller sent."""
        return cls(id=f"{prefix}{random.getrandbits(96):024x}", created=int(time.time()), model=model)


def completion_of(answer: Answer, header: Header) -> wire.ChatCompletion:
    """Write a whole answer."""
    return wire.ChatCompletion(
        id=header.id,
        created=header.created,
        model=header.model,
        choices=[_choice(choice, index) for index, choice in enumerate(answer.choices)],
        usage=usage_of(answer.usage),
        openkimi=answer.receipt or UNSET,
    )


def _choice(choice: Choice, index: int) -> wire.Choice:
    text, calls = choice.text, choice.tool_calls
    message = wire.ResponseMessage(
        content=text if text or not calls else None,
        reasoning_content=choice.reasoning or UNSET,
        tool_calls=[tool_call_of(call) for call in calls] or UNSET,
    )
    return wire.Choice(
        index=index,
        message=message,
        finish_reason=choice.finish_reason,
        logprobs=logprobs_of(choice.logprobs),
    )


class ChunkWriter:
    """Writes chunks, from the role to ``[DONE]``; the receipt rides on the last chunk of a choice."""

    def __init__(self, header: Header, *, n: int, include_usage: bool) -> None:
        self._header = header
        self._n = n
        self._include_usage = include_usage
        self._usage = Usage()
        self._templates: dict[int, tuple[bytes, bytes]] = {}
        self._receipt: Receipt | UnsetType = UNSET

    def begin(self) -> Iterator[bytes]:
        """Write the role of each choice."""
        for index in range(self._n):
            yield data(self._chunk(index, wire.ChoiceDelta(role="assistant", content="")))

    def write(self, event: AnswerPart) -> Iterable[bytes]:
        """Write what a delta adds, and the finish reason apart."""
        if isinstance(event, Receipt):
            self._receipt = event
            return ()
        if _is_text(event):
            before, after = self._around(event.index)
            return (before + _encoder.encode(event.content) + after,)
        return map(data, self._of(event))

    def end(self) -> Iterator[bytes]:
        """Write the usage, where it was asked for, and ``[DONE]``."""
        if self._include_usage:
            usage = usage_of(self._usage)
            chunk = self._chunk(0, wire.ChoiceDelta())
            yield data(msgspec.structs.replace(chunk, choices=[], usage=usage))
        yield DONE

    def fail(self, error: wire.ErrorDetail) -> Iterator[bytes]:
        """Write the error, after which nothing comes."""
        yield data(wire.ErrorBody(error=error))

    def _around(self, index: int) -> tuple[bytes, bytes]:
        """Return what stands before and after the text of a chunk of that choice; it is the same in all."""
        if index not in self._templates:
            chunk = data(self._chunk(index, wire.ChoiceDelta(content=_MARK)))
            before, _, after = chunk.rpartition(_encoder.encode(_MARK))
            self._templates[index] = (before, after)
        return self._templates[index]

    def _of(self, event: Delta) -> Iterator[wire.ChatCompletionChunk]:
        if event.usage is not None:
            self._usage += event.usage
        delta = delta_of(event)
        if delta != wire.ChoiceDelta() or event.logprobs:
            yield self._chunk(event.index, delta, logprobs=logprobs_of(event.logprobs))
        if event.finish_reason is not None:
            last = self._chunk(event.index, wire.ChoiceDelta(), finish_reason=event.finish_reason)
            yield msgspec.structs.replace(last, openkimi=self._receipt_of(event.index))

    def _receipt_of(self, index: int) -> Receipt | UnsetType:
        return UNSET if self._receipt is UNSET else self._receipt.of_choices({index: index})

    def _chunk(
        self,
        index: int,
        delta: wire.ChoiceDelta,
        *,
        finish_reason: FinishReason | None = None,
        logprobs: wire.Logprobs | None = None,
    ) -> wire.ChatCompletionChunk:
        choice = wire.ChunkChoice(index=index, delta=delta, finish_reason=finish_reason, logprobs=logprobs)
        return wire.ChatCompletionChunk(
            id=self._header.id,
            created=self._header.created,
            model=self._header.model,
            choices=[choice],
            usage=None if self._include_usage else UNSET,
        )


def _is_text(event: Delta) -> bool:
    """Tell whether a delta adds text and nothing else, as nearly all do."""
    return bool(event.content) and event == Delta(content=event.content, index=event.index)


class FunctionChunkWriter(ChunkWriter):
    """Writes chunks for who sent ``functions``, the former name of tools."""

    def _of(self, event: Delta) -> Iterator[wire.ChatCompletionChunk]:
        yield from map(chunk_with_function_call, super()._of(event))
