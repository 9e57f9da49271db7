"""OpenAI's completions on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.api.schemas import CompletionUsage, OpenKimiOptions, Penalty, Probability, StreamOptions
from openkimi.api.token_ids import Texts
from openkimi.receipt import Receipt

FinishReason = Literal["stop", "length", "content_filter"]
DEFAULT_MAX_TOKENS = 16


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/completions``; fields it does not know are ignored."""

    prompt: Texts | None
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=0, le=128)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    user: str | None = None
    openkimi: OpenKimiOptions | None = None


class CompletionLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """The log-probabilities of an answer's tokens, each list with one item a token.

    ``text_offset`` counts the characters before a token in the choice's ``text``.
    """

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One of the answers to one of the prompts, or a piece of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None
    openkimi: Receipt | UnsetType = UNSET


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request, or one event of its stream.

    The receipt of several prompts is in each choice.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    openkimi: Receipt | UnsetType = UNSET
