"""Writes one answer, token by token, in the thread that owns the model."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

from openkimi import Delta, FinishReason, GenerateRequest, StopFilter, Usage
from openkimi_llama_cpp.model import Interrupted, Model
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.sampling import Sampler


class Prompt(NamedTuple):
    """A rendered prompt and what limits the answer to it."""

    tokens: list[int]
    stop: tuple[str, ...]
    grammar: str | None


def generate(
    model: Model,
    prompt: Prompt,
    request: GenerateRequest,
    options: LlamaCppOptions,
    emit: Callable[[Delta], None],
) -> None:
    """Answer a prompt, handing each step to ``emit``; the last one has the reason and the usage.

    Returns without a last step when the context's interrupt is set.

    Raises:
        RequestError: the response format makes no grammar.
        BackendError: llama.cpp failed.
    """
    sampler = Sampler(model.library, model.vocabulary, request, options, prompt.grammar)
    try:
        reproducible = request.seed is not None or request.temperature <= 0
        cached = model.context.read(prompt.tokens, reproducible=reproducible)
        reason, written = _write(model, prompt, request, sampler, emit)
    except Interrupted:
        return
    finally:
        sampler.close()
    usage = Usage(prompt_tokens=len(prompt.tokens), completion_tokens=written, cached_tokens=cached)
    emit(Delta(finish_reason=reason, usage=usage))


def _write(
    model: Model, prompt: Prompt, request: GenerateRequest, sampler: Sampler, emit: Callable[[Delta], None]
) -> tuple[FinishReason, int]:
    """Sample until the answer ends; a character is shown once all of its bytes are there."""
    context, vocabulary = model.context, model.vocabulary
    limit = context.size - len(prompt.tokens)
    limit = limit if request.max_tokens is None else min(limit, request.max_tokens)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    stop = StopFilter(prompt.stop)
    reason: FinishReason = "length"
    written, token = 0, -1
    while written < limit and reason == "length":
        if written:
            context.append(token)
        token = sampler.next(context)
        if vocabulary.ends(token):
            reason = "stop"
            break
        written += 1
        if text := stop.feed(decoder.decode(vocabulary.piece(token))):
            emit(Delta(content=text))
        if stop.stopped:
            reason = "stop"
    if text := stop.flush():
        emit(Delta(content=text))
    return reason, written
