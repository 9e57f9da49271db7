"""The body of ``POST /v1/responses`` on the wire, lenient in what it takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.api.schemas import OpenKimiOptions, Penalty, Probability

InputRole = Literal["system", "developer", "user", "assistant"]


class InputPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message or of a function's output; which fields count depends on ``type``."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None


class InputItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a conversation; which fields count depends on ``type``, which a message may leave out."""

    type: str | None = None
    id: str | None = None
    role: InputRole | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    output: str | list[InputPart] | dict[str, Any] | None = None


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class AllowedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool named in ``tool_choice``."""

    type: str
    name: str | UnsetType = UNSET


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of one function, or of a few among the tools."""

    type: str
    name: str | UnsetType = UNSET
    mode: Literal["auto", "required"] | UnsetType = UNSET
    tools: list[AllowedTool] | UnsetType = UNSET


class TextFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The shape the answer must have; all but ``type`` belongs to ``json_schema``."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    schema: dict[str, Any] | UnsetType = UNSET
    strict: bool | UnsetType | None = UNSET


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the text of the answer is to be like."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model is to reason: a hint."""

    effort: str | None = None
    summary: str | None = None


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/responses``; fields it does not know are ignored."""

    input: str | list[InputItem] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_tool_calls: int | None = None
    text: TextOptions | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    background: bool | None = None
    conversation: Any = None
    previous_response_id: Any = None
    prompt: Any = None
    openkimi: OpenKimiOptions | None = None
