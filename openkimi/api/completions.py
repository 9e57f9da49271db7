"""Completions: the model goes on from a prompt, told it as the one message of a user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, UnsetType

from openkimi.api import completions_schemas as wire
from openkimi.api.chat import DONE, Header
from openkimi.api.completions_batch import Batch
from openkimi.api.completions_convert import asks_of, chooses_best
from openkimi.api.completions_logprobs import TokenList
from openkimi.api.convert import usage_of
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import generates
from openkimi.api.schemas import ErrorBody, ErrorDetail
from openkimi.api.sse import data
from openkimi.api.token_ids import texts_of
from openkimi.gathering import Answer, Choice
from openkimi.messages import Delta, FinishReason, Usage
from openkimi.pipeline import AnswerPart
from openkimi.receipt import Receipt


def completion_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``POST /v1/completions``."""

    @post(
        "/v1/completions",
        status_code=200,
        operation_class=generates(wire.CompletionRequest, wire.Completion, events=wire.Completion),
    )
    async def create_completion(request: Request[Any, Any, Any]) -> Response[Any]:
        """Answer one prompt or several, each as if it were a user's only message."""
        body = await gateway.read(request, wire.CompletionRequest)
        prompts = await texts_of("" if body.prompt is None else body.prompt, param="prompt")
        asks = [gateway.of_caller(request, ask) for ask in asks_of(body, prompts)]
        batch = Batch(prompts, asks, best_of=chooses_best(body))
        header = Header.new(body.model or gateway.engine.model_name, "cmpl-")
        events = batch.events(gateway.engine)
        if body.stream:
            writer = CompletionWriter(header, batch, body)
            return await gateway.stream_events(request, events, writer)
        answer = await gateway.gather(request, events, Answer(batch.size))
        return json_response(completion_of(answer, header, batch, body))

    return [create_completion]


def completion_of(
    answer: Answer, header: Header, batch: Batch, body: wire.CompletionRequest
) -> wire.Completion:
    """Write a whole answer."""
    each = body.n or 1
    shown = batch.best(answer.choices, each)
    several = len(batch.prompts) > 1
    return wire.Completion(
        id=header.id,
        created=header.created,
        model=header.model,
        choices=[
            _choice(
                answer.choices[index],
                at,
                batch.prompts[at // each],
                body,
                batch.receipt(at // each, {index: at}) if several else UNSET,
            )
            for at, index in enumerate(shown)
        ],
        usage=usage_of(answer.usage),
        openkimi=UNSET if several else batch.receipt(0, {index: at for at, index in enumerate(shown)}),
    )


def _choice(
    choice: Choice, index: int, prompt: str, body: wire.CompletionRequest, receipt: Receipt | UnsetType
) -> wire.CompletionChoice:
    before = prompt if body.echo else ""
    tokens = () if body.logprobs is None else choice.logprobs
    return wire.CompletionChoice(
        index=index,
        text=before + choice.text,
        logprobs=TokenList(offset=len(before), alternatives=body.logprobs or 0).add(tokens),
        finish_reason=_reason(choice.finish_reason),
        openkimi=receipt,
    )


class CompletionWriter:
    """Writes pieces of completions up to ``[DONE]``; the receipt rides on the last piece of a choice."""

    def __init__(self, header: Header, batch: Batch, body: wire.CompletionRequest) -> None:
        self._header = header
        self._batch = batch
        self._include_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._usage = Usage()
        self._before = [
            batch.prompts[batch.prompt_of(index)] if body.echo else "" for index in range(batch.size)
        ]
        self._tokens = [
            TokenList(offset=len(before), alternatives=body.logprobs or 0) for before in self._before
        ]

    def begin(self) -> Iterator[bytes]:
        """Write the prompts, where they are to be echoed."""
        for index, before in enumerate(self._before):
            if before:
                yield data(self._piece(wire.CompletionChoice(index=index, text=before)))

    def write(self, event: AnswerPart) -> Iterator[bytes]:
        """Write what a delta adds, and the finish reason apart."""
        if isinstance(event, Delta):
            yield from map(data, self._of(event))

    def end(self) -> Iterator[bytes]:
        """Write the usage, where it was asked for, and ``[DONE]``."""
        if self._include_usage:
            piece = msgspec.structs.replace(self._piece(), usage=usage_of(self._usage))
            yield data(piece)
        yield DONE

    def fail(self, error: ErrorDetail) -> Iterator[bytes]:
        """Write the error, after which nothing comes."""
        yield data(ErrorBody(error=error))

    def _of(self, event: Delta) -> Iterator[wire.Completion]:
        index = event.index
        if event.usage is not None:
            self._usage += event.usage
        if event.content or event.logprobs:
            tokens = self._tokens[index].add(event.logprobs)
            yield self._piece(wire.CompletionChoice(index=index, text=event.content, logprobs=tokens))
        if event.finish_reason is not None:
            reason = _reason(event.finish_reason)
            last = self._piece(wire.CompletionChoice(index=index, text="", finish_reason=reason))
            receipt = self._batch.receipt(self._batch.prompt_of(index), {index: index})
            yield msgspec.structs.replace(last, openkimi=receipt)

    def _piece(self, *choices: wire.CompletionChoice) -> wire.Completion:
        return wire.Completion(
            id=self._header.id,
            created=self._header.created,
            model=self._header.model,
            choices=list(choices),
            usage=None if self._include_usage else UNSET,
        )


def _reason(reason: FinishReason) -> wire.FinishReason:
    return "stop" if reason == "tool_calls" else reason
