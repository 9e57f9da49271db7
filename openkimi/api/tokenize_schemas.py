"""Token counts on the wire."""

from __future__ import annotations

from typing import Literal

import msgspec

from openkimi.api.schemas import RequestMessage, ToolDefinition


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/tokenize``: texts, or the messages and tools of a chat completion."""

    input: str | list[str] | None = None
    messages: list[RequestMessage] | None = None
    tools: list[ToolDefinition] | None = None
    model: str | None = None


class TokenCount(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one text, or of a whole prompt."""

    object: Literal["token_count"] = "token_count"
    index: int
    tokens: int


class TokenCountList(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of all texts in their order, their sum, and how many tokens the model's window holds."""

    object: Literal["list"] = "list"
    data: list[TokenCount]
    model: str
    total_tokens: int
    context_window: int
