"""OpenAI's chat completions on the wire: lenient structs for what comes in, exact ones for what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.messages import FinishReason, Role
from openkimi.modes import Mode, OnUnsupported
from openkimi.receipt import Receipt

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Limit = Annotated[
    int, msgspec.Meta(ge=-1, description="The most tokens; 0, -1 and null: as many as the window leaves.")
]
ChoiceFinishReason = FinishReason | Literal["function_call"]


class ImageUrl(msgspec.Struct, frozen=True, kw_only=True):
    """An image by address."""

    url: str
    detail: str | None = None


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message's content; which fields count depends on ``type``."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a function; ``arguments`` is JSON text."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call in a message."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class RequestFunctionCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a function as a client sends it back."""

    name: str
    arguments: str | None = None


class RequestToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call as a client sends it back."""

    id: str
    function: RequestFunctionCall
    type: Literal["function"] | None = None


class RequestMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a client sends it; the role ``function`` and ``function_call`` are former names."""

    role: Role | Literal["function"]
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[RequestToolCall] | None = None
    tool_call_id: str | None = None
    function_call: RequestFunctionCall | None = None


_CONTENT = {"content": {"type": ["string", "array"]}}
_NEEDS_OF_ROLES = {
    "anyOf": [
        {"properties": {"role": {"const": "assistant"}}},
        {
            "properties": {"role": {"const": "tool"}, "tool_call_id": {"type": "string"}, **_CONTENT},
            "required": ["tool_call_id", "content"],
        },
        {
            "properties": {"role": {"not": {"enum": ["assistant", "tool"]}}, **_CONTENT},
            "required": ["content"],
        },
    ]
}


class FunctionDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may call; functions only."""

    type: str
    function: FunctionDefinition | None = None


class NamedFunction(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a function."""

    name: str


class AllowedTools(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the tools that may be called this time."""

    tools: list[NamedTool]
    mode: Literal["auto", "required"] | None = None


class NamedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool by its name; functions only."""

    type: str | None = None
    function: NamedFunction | None = None


class ToolChoiceObject(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of one tool by its name, of some of them, or a mode written as an object."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchemaFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON Schema that the answer must fit."""

    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The shape the answer must have; clients of llama.cpp give a ``schema`` beside ``json_object``."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None
    schema: dict[str, Any] | None = None


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None


class MprOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How many reasoning paths this request takes, what they may cost, and what becomes of them."""

    candidates: Annotated[int, msgspec.Meta(ge=1, le=32)] | None = None
    gate: bool | None = None
    early_stop: bool | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, description="Seconds.")] | None = None
    max_total_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    on_unsupported: OnUnsupported | None = None
    drafts: bool | None = None


class OpenKimiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """OpenKimi's own part of a request: stored documents by id, several paths, how much is to be read."""

    documents: list[str] | None = None
    mpr: MprOptions | None = None
    citations: bool | None = None
    mode: Mode | None = None
    max_calls: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ChatCompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/chat/completions``; fields it does not know are ignored."""

    messages: Annotated[
        list[Annotated[RequestMessage, msgspec.Meta(extra_json_schema=_NEEDS_OF_ROLES)]],
        msgspec.Meta(min_length=1),
    ]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: Literal["none", "auto"] | NamedFunction | None = None
    modalities: list[str] | None = None
    user: str | None = None
    openkimi: OpenKimiOptions | None = None


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """A token that could have stood in a place."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob, frozen=True, kw_only=True):
    """A token of the answer with its alternatives."""

    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct, frozen=True, kw_only=True):
    """The log-probabilities of an answer's tokens."""

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


class ResponseMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one choice."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of the ``n`` answers."""

    index: int
    message: ResponseMessage
    finish_reason: ChoiceFinishReason
    logprobs: Logprobs | None = None


class PromptTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Prompt tokens by kind."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Completion tokens by kind."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens read and written for all choices and paths together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that is not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    openkimi: Receipt | UnsetType = UNSET


class FunctionCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a function call."""

    name: str | UnsetType = UNSET
    arguments: str = ""


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call; only its first piece has ``id`` and ``type``."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionCallDelta


class ChoiceDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk adds to an answer."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCallDelta | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer's part of a chunk."""

    index: int
    delta: ChoiceDelta
    finish_reason: ChoiceFinishReason | None = None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    openkimi: Receipt | UnsetType = UNSET


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can be named in requests."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "openkimi"


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The models that the gateway lists."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``GET /health``."""

    status: str
    version: str


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, in OpenAI's shape."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    error: ErrorDetail
