"""Writes one answer, token by token."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

from openkimi import Delta, FinishReason, GenerateRequest, StopFilter
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.sampling import Sampler
from openkimi_llama_cpp.vocabulary import Logits, Vocabulary


class Prompt(NamedTuple):
    """A rendered prompt and what limits the answer to it."""

    tokens: list[int]
    stop: tuple[str, ...]
    grammar: str | None


def writer_for(
    model: Model,
    prompt: Prompt,
    request: GenerateRequest,
    options: LlamaCppOptions,
    emit: Callable[[Delta], None],
) -> Writer:
    """Make the writer of a request's answer; close it in the end.

    Raises:
        RequestError: the response format makes no grammar.
    """
    limit = model.context.size - len(prompt.tokens)
    limit = limit if request.max_tokens is None else min(limit, request.max_tokens)
    sampler = Sampler(model.library, model.vocabulary, request, options, prompt.grammar)
    return Writer(model.vocabulary, sampler, prompt.stop, limit=limit, emit=emit)


class Writer:
    """Chooses the tokens of an answer and shows its text; ``written`` counts them, ``reason`` tells the end.

    A character is shown once all of its bytes are there.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampler: Sampler,
        stop: tuple[str, ...],
        *,
        limit: int,
        emit: Callable[[Delta], None],
    ) -> None:
        self.written = 0
        self.reason: FinishReason = "length"
        self._vocabulary = vocabulary
        self._sampler = sampler
        self._limit = limit
        self._emit = emit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = StopFilter(stop)

    def next(self, logits: Logits) -> int | None:
        """Choose the next token, to be evaluated before the next call; None when the answer is over.

        Raises:
            BackendError: no token is left that the grammar allows.
        """
        if self.written < self._limit:
            token = self._sampler.next(logits)
            if self._vocabulary.ends(token):
                self.reason = "stop"
            elif self._write(token):
                return token
        self._show(self._stop.flush())
        return None

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _write(self, token: int) -> bool:
        """Show what a token says; False when it was the last one."""
        self.written += 1
        self._show(self._stop.feed(self._decoder.decode(self._vocabulary.piece(token))))
        if self._stop.stopped:
            self.reason = "stop"
        return self.reason == "length" and self.written < self._limit

    def _show(self, text: str) -> None:
        if text:
            self._emit(Delta(content=text))
