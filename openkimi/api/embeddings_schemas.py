"""OpenAI's embeddings on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from openkimi.api.token_ids import Texts


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/embeddings``; fields it does not know are ignored."""

    input: Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    user: str | None = None


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of one text; in base64 its numbers are little-endian floats of 32 bits."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all texts together."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of all texts, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
