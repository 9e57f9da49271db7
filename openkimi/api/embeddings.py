"""Embeddings: texts as vectors of the configured embedder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from openkimi.api import embeddings_schemas as wire
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import generates
from openkimi.api.token_ids import texts_of
from openkimi.contracts import Vectors
from openkimi.errors import RequestError

_MOST_TEXTS = 2048


def embedding_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return ``POST /v1/embeddings``."""

    @post(
        "/v1/embeddings",
        status_code=200,
        operation_class=generates(wire.EmbeddingRequest, wire.EmbeddingList),
    )
    async def create_embeddings(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Embed one text or several with the configured embedder, whatever name the request gives."""
        body = await gateway.read(request, wire.EmbeddingRequest)
        embedded = await gateway.run(request, _embed(gateway, body))
        await gateway.limits.charge(request, embedded.usage.total_tokens)
        return json_response(embedded)

    return [create_embeddings]


async def _embed(gateway: Gateway, body: wire.EmbeddingRequest) -> wire.EmbeddingList:
    texts = await texts_of(body.input, param="input")
    _check(texts)
    vectors = await gateway.engine.embed(texts, dimensions=body.dimensions)
    tokens = sum(await gateway.engine.count_tokens(texts))
    rows = await asyncio.to_thread(_rows, vectors, as_base64=body.encoding_format == "base64")
    return wire.EmbeddingList(
        data=cast("list[wire.Embedding]", rows),
        model=body.model or gateway.engine.config.embedder.provider.kind,
        usage=wire.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _check(texts: Sequence[str]) -> None:
    """Refuse what OpenAI refuses: no text, an empty one, too many.

    Raises:
        RequestError: names the text.
    """
    if len(texts) > _MOST_TEXTS:
        raise RequestError(
            f"'input': {_MOST_TEXTS} texts at most in one request, got {len(texts)}: send several requests",
            param="input",
            code="invalid_value",
        )
    empty = next((at for at, text in enumerate(texts) if not text), None)
    if empty is not None:
        where = "input" if len(texts) == 1 else f"input[{empty}]"
        raise RequestError(f"'{where}' is empty: leave it out", param=where, code="invalid_value")


def _rows(vectors: Vectors, *, as_base64: bool) -> list[msgspec.Raw]:
    """Encode each vector apart: a million numbers in one go would keep the event loop from running."""
    encode = msgspec.json.Encoder().encode
    return [
        msgspec.Raw(
            encode(wire.Embedding(index=index, embedding=_base64(row) if as_base64 else row.tolist()))
        )
        for index, row in enumerate(vectors)
    ]


def _base64(row: Vectors) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
