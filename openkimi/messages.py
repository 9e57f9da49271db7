"""Chat messages, what a backend is asked and what it answers, free of any wire format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A run of text inside a message."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, tag="image_url"):
    """An image by URL or ``data:`` URL; only backends with the feature ``images`` get one."""

    url: str
    detail: str | None = None


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a function tool that the model asks for; ``arguments`` is JSON text as generated."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Role
    content: str | tuple[Part, ...] = ""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The message's text, its text parts joined by blank lines."""
        if isinstance(self.content, str):
            return self.content
        return "\n\n".join(part.text for part in self.content if isinstance(part, TextPart))


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function the model may call; ``parameters`` is a JSON Schema object."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and which tool is to be called; ``name`` is set for the mode ``named`` only."""

    mode: Literal["none", "auto", "required", "named"] = "auto"
    name: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The shape the answer must have; ``schema`` is set for the type ``json_schema`` only."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend is asked for: one answer to a list of messages.

    Every field means what the parameter of that name means in OpenAI's chat completions.
    ``max_tokens`` as a backend receives it is always set and fits the window; ``limited`` is False when
    the caller set none, so that a server which knows its own window need not be told.
    ``model`` is the name the caller sent; a backend with one model ignores it.
    ``stream`` is False when nobody reads the answer before it is complete: a hint that a backend may take
    to give it in one delta.
    ``tenant`` is whose request it is, None where that is not known: what is kept of an answer is kept for
    that tenant only.
    ``suffix`` asks for the text between the one message and it, told as one text and not as a chat; an empty
    one says that nothing follows, which a backend without that feature need not heed.
    ``share`` is the same for all that is generated for one caller's request, its choices and its reasoning
    paths: a backend that lets requests take turns gives them one turn together. None stands alone.
    """

    messages: tuple[Message, ...]
    model: str = ""
    max_tokens: int | None = None
    limited: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = {}
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    response_format: ResponseFormat = ResponseFormat()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool | None = None
    suffix: str | None = None
    user: str | None = None
    tenant: str | None = None
    stream: bool = True
    share: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call; ``id`` and ``name`` come with its first piece, ``arguments`` adds up."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """A token that could have stood in a place, with its natural log-probability."""

    token: str
    logprob: float
    bytes: Sequence[int] | None = None


class TokenLogprob(TopLogprob, frozen=True, kw_only=True):
    """The chosen token with the most likely alternatives in its place, best first."""

    top_logprobs: tuple[TopLogprob, ...] = ()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens read and written; ``cached_tokens`` of the prompt needed no computation."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an answer.

    The last delta of an answer has a ``finish_reason`` and, where the backend knows it, the ``usage``.
    ``index`` is the number of the choice when several answers are asked for; a backend leaves it 0.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
