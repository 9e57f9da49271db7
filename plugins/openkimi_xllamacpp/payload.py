"""Writes a request as the engine's own ``/completion`` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from openkimi import GenerateRequest
from openkimi_gguf.form import NO_FORM, Form
from openkimi_xllamacpp.events import LAST_FIELDS
from openkimi_xllamacpp.options import XllamacppOptions

# llama.cpp reads this seed as "any"; every other 32-bit number is a seed.
_ANY_SEED = 0xFFFFFFFF
# What is penalised is among the last tokens, the prompt's included: over a long document nothing was left.
_PENALISED = 64

# ``enum common_grammar_trigger_type`` of llama.cpp's common.h.
_WORD = 1


class Prompt(NamedTuple):
    """A rendered prompt and what limits the answer to it."""

    tokens: Sequence[int]
    stop: tuple[str, ...] = ()
    form: Form = NO_FORM

    @property
    def own_stop(self) -> tuple[str, ...]:
        """What is left to us to stop at: the engine would look for it inside of calls."""
        return self.stop if self.form.dialect is not None else ()


def payload_for(prompt: Prompt, request: GenerateRequest, options: XllamacppOptions) -> dict[str, Any]:
    """Write the body that asks for an answer, step by step, with the progress of the reading."""
    body: dict[str, Any] = {
        "prompt": prompt.tokens,
        "n_predict": -1 if request.max_tokens is None else request.max_tokens,
        "stop": [sequence for sequence in prompt.stop if sequence and not prompt.own_stop],
        "stream": True,
        # An event for each batch of the prompt is what lets the engine see that nobody listens any more.
        "return_progress": True,
        # Reading a part of the prompt gives other last bits than reading all of it, and so another answer.
        "cache_prompt": request.seed is None,
        "response_fields": LAST_FIELDS,
        **_sampling(request, options),
        **_held(prompt.form),
    }
    if request.seed is not None:
        body["seed"] = request.seed % _ANY_SEED
    if request.logit_bias:
        body["logit_bias"] = [[token, bias] for token, bias in request.logit_bias.items()]
    if request.logprobs:
        body["n_probs"] = max(1, request.top_logprobs)
    return body


def _sampling(request: GenerateRequest, options: XllamacppOptions) -> dict[str, Any]:
    greedy = request.temperature <= 0
    return {
        "samplers": ["penalties", "top_k", "min_p", "temperature", "top_p"],
        "top_k": 1 if greedy else options.top_k,
        "min_p": options.min_p,
        "temperature": max(request.temperature, 0.0),
        "top_p": request.top_p,
        "repeat_penalty": 1.0,
        "repeat_last_n": _PENALISED,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }


def _held(form: Form) -> dict[str, Any]:
    """Hold the answer to a grammar: from its start, or from where a call begins."""
    if form.grammar is None or (form.lazy and not _marker(form)):
        return {}
    held: dict[str, Any] = {"grammar": form.grammar}
    if form.dialect is not None:
        held["preserved_tokens"] = form.dialect.specials
    if form.lazy:
        held["grammar_lazy"] = True
        held["grammar_triggers"] = [{"type": _WORD, "value": _marker(form)}]
    return held


def _marker(form: Form) -> str:
    return "" if form.dialect is None else form.dialect.marker
