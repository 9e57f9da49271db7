"""Writes one answer, token by token."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

from openkimi import Delta, FinishReason, GenerateRequest, StopFilter
from openkimi_gguf.calling import CallParser, Parsed
from openkimi_gguf.form import NO_FORM, Form
from openkimi_llama_cpp.logprobs import ShownTokens, TokenScores
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.sampling import Sampler
from openkimi_llama_cpp.vocabulary import Logits, Vocabulary


class Prompt(NamedTuple):
    """A rendered prompt and what limits the answer to it."""

    tokens: list[int]
    stop: tuple[str, ...]
    form: Form = NO_FORM


def writer_for(
    model: Model,
    prompt: Prompt,
    request: GenerateRequest,
    options: LlamaCppOptions,
    emit: Callable[[Delta], None],
) -> Writer:
    """Make the writer of a request's answer; close it in the end.

    Raises:
        RequestError: the response format, or a tool, makes no grammar.
    """
    limit = model.context.size - len(prompt.tokens)
    limit = limit if request.max_tokens is None else min(limit, request.max_tokens)
    vocabulary = model.vocabulary
    sampler = Sampler(model.library, vocabulary, request, options, prompt.form)
    scores = TokenScores(vocabulary, request.top_logprobs) if request.logprobs else None
    return Writer(vocabulary, sampler, prompt.stop, limit=limit, emit=emit, form=prompt.form, scores=scores)


class Writer:
    """Chooses the tokens of an answer and shows its text; ``written`` counts them, ``reason`` tells the end.

    A character is shown once all of its bytes are there. Calls of the functions that ``form`` names are told
    from the text. With ``scores``, the tokens of the text come with log-probabilities.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampler: Sampler,
        stop: tuple[str, ...],
        *,
        limit: int,
        emit: Callable[[Delta], None],
        form: Form = NO_FORM,
        scores: TokenScores | None = None,
    ) -> None:
        self.written = 0
        self.reason: FinishReason = "length"
        self._vocabulary = vocabulary
        self._sampler = sampler
        self._limit = limit
        self._emit = emit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = StopFilter(stop)
        self._calls: CallParser | None = None
        self._spoken = frozenset[int]()
        if form.dialect is not None:
            self._calls = CallParser(form.dialect, form.names, begin=self._begins)
            self._spoken = vocabulary.ids(form.dialect.specials)
        self._scores = scores
        self._tokens = ShownTokens()

    def next(self, logits: Logits) -> int | None:
        """Choose the next token, to be evaluated before the next call; None when the answer is over.

        Raises:
            BackendError: no token is left that the grammar allows.
        """
        if self.written < self._limit:
            token = self._sampler.next(logits)
            if self._vocabulary.ends(token):
                self.reason = "stop"
            elif self._write(token, logits):
                return token
        self._end()
        return None

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _write(self, token: int, logits: Logits) -> bool:
        """Show what a token says; False when it was the last one."""
        self.written += 1
        text = self._decoder.decode(self._vocabulary.piece(token, special=token in self._spoken))
        if self._scores is not None:
            unfinished = bool(self._decoder.getstate()[0])
            self._tokens.add(self._scores.score(token, logits), text, unfinished=unfinished)
        parsed = self._calls.feed(text) if self._calls else Parsed(text)
        self._show(self._stop.feed(parsed.content), parsed)
        return self.reason == "length" and self.written < self._limit

    def _begins(self, text: str) -> bool:
        """Let a grammar hold what begins as a call; it could not read on inside of a character."""
        return not self._decoder.getstate()[0] and self._sampler.begin(text)

    def _end(self) -> None:
        """Show what was held back."""
        parsed = self._calls.flush(cut_off=self.reason == "length") if self._calls else Parsed()
        self._show(self._stop.feed(parsed.content) + self._stop.flush(), parsed)
        if self.reason == "stop" and self._calls and self._calls.called:
            self.reason = "tool_calls"

    def _show(self, text: str, parsed: Parsed) -> None:
        tokens = self._tokens.take(text)
        if text or tokens or parsed.calls:
            self._emit(Delta(content=text, logprobs=tokens, tool_calls=parsed.calls))
        if self._stop.stopped:
            self.reason = "stop"
