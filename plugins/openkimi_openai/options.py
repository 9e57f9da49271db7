"""The options of the backend and the embedder that talk to an OpenAI-compatible server."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from openkimi import Secret

DEFAULT_CONTEXT_LENGTH = 8192


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server is, how it is called and how long it may take."""

    api_url: Annotated[
        str | None,
        Meta(
            description="The base address, like http://127.0.0.1:8080/v1; null: OPENAI_API_BASE or OpenAI's."
        ),
    ] = None
    api_key: Annotated[
        Secret | None,
        Meta(description="The key; null: OPENAI_API_KEY, which goes to no other api_url than OpenAI's own."),
    ] = None
    model_name: Annotated[
        Annotated[str, Meta(min_length=1)], Meta(description="The model's name at the server.")
    ]
    headers: Annotated[
        dict[str, Secret], Meta(description="Further headers of each request; their values stay secret.")
    ] = {}
    connect_timeout: Annotated[
        float, Meta(gt=0, description="Seconds that making a connection may take.")
    ] = 10.0
    timeout: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds that the server may send nothing while it owes an answer; "
            "twice as long where the answer is asked for whole.",
        ),
    ] = 300.0
    concurrency: Annotated[int, Meta(ge=1, description="The most calls at the same time.")] = 64
    retries: Annotated[
        int,
        Meta(
            ge=0,
            le=10,
            description="Further tries after a failed connection or HTTP 429, 502, 503, 504.",
        ),
    ] = 2


class CharactersPerToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many characters a token of the remote model has, on average."""

    characters_per_token: Annotated[float, Meta(gt=0, description="Of alphabetic text in Latin script.")] = (
        4.0
    )
    cjk_characters_per_token: Annotated[
        float, Meta(gt=0, description="Of Chinese, Japanese and Korean text.")
    ] = 1.2


class OpenAIOptions(ServerOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A language model behind ``/chat/completions``."""

    context_length: Annotated[
        Annotated[int, Meta(ge=256)] | None,
        Meta(description="Tokens of prompt and answer together; set it to your model's. null: 8192."),
    ] = DEFAULT_CONTEXT_LENGTH
    max_output_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="The most tokens ever asked for in one answer; null: what the window leaves."),
    ] = None
    max_tokens_field: Annotated[
        Literal["max_tokens", "max_completion_tokens"],
        Meta(description="The name that the server knows max_tokens by."),
    ] = "max_tokens"
    stream: Annotated[
        Literal["auto", "always"],
        Meta(
            description="always: ask for streams also where the caller wants the whole answer, "
            "for servers behind proxies that cut silent connections."
        ),
    ] = "auto"
    tokenizer: Annotated[
        Literal["auto", "estimate"] | CharactersPerToken,
        Meta(description="How tokens are counted: by an estimate, whose ratios an object sets."),
    ] = "auto"


class OpenAIEmbedderOptions(ServerOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An embedding model behind ``/embeddings``."""

    dimensions: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="The length of a vector, asked of the server; null: found out with one call."),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, description="The most texts in a call.")] = 64
    encoding_format: Annotated[
        Literal["float", "base64"], Meta(description="How vectors are asked for; both are understood.")
    ] = "float"
    concurrency: Annotated[int, Meta(ge=1, description="The most calls at the same time.")] = 8
