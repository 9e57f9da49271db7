"""Writes a request as the engine's own ``/completion`` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from openkimi import GenerateRequest
from openkimi_xllamacpp.events import LAST_FIELDS
from openkimi_xllamacpp.options import XllamacppOptions

# llama.cpp reads this seed as "any"; every other 32-bit number is a seed.
_ANY_SEED = 0xFFFFFFFF
# What is penalised is among the last tokens, the prompt's included: over a long document nothing was left.
_PENALISED = 64


class Prompt(NamedTuple):
    """A rendered prompt and what limits the answer to it."""

    tokens: Sequence[int]
    stop: tuple[str, ...]
    grammar: str | None


def payload_for(prompt: Prompt, request: GenerateRequest, options: XllamacppOptions) -> dict[str, Any]:
    """Write the body that asks for an answer, step by step, with the progress of the reading."""
    body: dict[str, Any] = {
        "prompt": prompt.tokens,
        "n_predict": -1 if request.max_tokens is None else request.max_tokens,
        "stop": [sequence for sequence in prompt.stop if sequence],
        "stream": True,
        # An event for each batch of the prompt is what lets the engine see that nobody listens any more.
        "return_progress": True,
        # Reading a part of the prompt gives other last bits than reading all of it, and so another answer.
        "cache_prompt": request.seed is None,
        "response_fields": LAST_FIELDS,
        **_sampling(request, options),
    }
    if request.seed is not None:
        body["seed"] = request.seed % _ANY_SEED
    if request.logit_bias:
        body["logit_bias"] = [[token, bias] for token, bias in request.logit_bias.items()]
    if request.logprobs:
        body["n_probs"] = max(1, request.top_logprobs)
    if prompt.grammar is not None:
        body["grammar"] = prompt.grammar
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
