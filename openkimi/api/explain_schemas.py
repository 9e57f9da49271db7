"""The trace of a request on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.api.schemas import ChatCompletionRequest, ImageUrl, OpenKimiOptions, ToolCall
from openkimi.explanation import BudgetTrace, DocumentTrace, FoundPassage
from openkimi.messages import Role
from openkimi.receipt import Receipt


class ExplainOptions(OpenKimiOptions, frozen=True, kw_only=True):
    """OpenKimi's own part of a request, with the number of hits to tell."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None


class ExplainRequest(ChatCompletionRequest, frozen=True, kw_only=True):
    """The body of a chat completion whose prompt is to be explained."""

    openkimi: ExplainOptions | None = None


class PromptPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message: ``text`` or an image."""

    type: Literal["text", "image_url"]
    text: str | UnsetType = UNSET
    image_url: ImageUrl | UnsetType = UNSET


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the model gets it, before its template is put around it."""

    role: Role
    content: str | list[PromptPart]
    name: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class ExplainedPath(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt of one reasoning path; ``order`` are the ranks of hits as this path wanted them."""

    prompt_tokens: int
    context_tokens: int
    max_tokens: int
    messages: list[PromptMessage]
    order: list[int]


class ExplanationObject(msgspec.Struct, frozen=True, kw_only=True):
    """How the prompt of a request comes about."""

    object: Literal["openkimi.explanation"] = "openkimi.explanation"
    model: str
    compressed: bool
    reason: str
    question: str
    budget: BudgetTrace
    documents: list[DocumentTrace]
    found: int
    hits: list[FoundPassage]
    paths: list[ExplainedPath]
    receipt: Receipt
