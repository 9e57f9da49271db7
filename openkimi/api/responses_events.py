"""The events of a streamed response on the wire; an event's tag is its name."""

from __future__ import annotations

import msgspec

from openkimi.api.responses_schemas import OutputItem, OutputText, ReasoningText, ResponseObject
from openkimi.api.schemas import ErrorDetail, TokenLogprob
from openkimi.api.sse import data


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a stream; ``sequence_number`` counts them from 0."""

    sequence_number: int


class ResponseEvent(Event, frozen=True, kw_only=True):
    """An event that holds the response as it stands."""

    response: ResponseObject


class ResponseCreated(ResponseEvent, frozen=True, kw_only=True, tag="response.created"):
    """The first event."""


class ResponseInProgress(ResponseEvent, frozen=True, kw_only=True, tag="response.in_progress"):
    """The model is at work."""


class ResponseCompleted(ResponseEvent, frozen=True, kw_only=True, tag="response.completed"):
    """The answer is whole."""


class ResponseIncomplete(ResponseEvent, frozen=True, kw_only=True, tag="response.incomplete"):
    """The answer ended early, as ``incomplete_details`` says."""


class ResponseFailed(ResponseEvent, frozen=True, kw_only=True, tag="response.failed"):
    """There is no whole answer, as ``error`` says."""


class ItemEvent(Event, frozen=True, kw_only=True):
    """An event of one output item."""

    output_index: int


class OutputItemAdded(ItemEvent, frozen=True, kw_only=True, tag="response.output_item.added"):
    """An item begins."""

    item: OutputItem


class OutputItemDone(ItemEvent, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item is whole."""

    item: OutputItem


class PartEvent(ItemEvent, frozen=True, kw_only=True):
    """An event of the one part that an item of text has."""

    item_id: str
    content_index: int = 0


class ContentPartAdded(PartEvent, frozen=True, kw_only=True, tag="response.content_part.added"):
    """A part begins."""

    part: OutputText | ReasoningText


class ContentPartDone(PartEvent, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part is whole."""

    part: OutputText | ReasoningText


class OutputTextDelta(PartEvent, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """A piece of a message's text."""

    delta: str
    logprobs: list[TokenLogprob] = []


class OutputTextDone(PartEvent, frozen=True, kw_only=True, tag="response.output_text.done"):
    """The whole text of a message."""

    text: str
    logprobs: list[TokenLogprob] = []


class ReasoningTextDelta(PartEvent, frozen=True, kw_only=True, tag="response.reasoning_text.delta"):
    """A piece of what the model thinks."""

    delta: str


class ReasoningTextDone(PartEvent, frozen=True, kw_only=True, tag="response.reasoning_text.done"):
    """All that the model thought."""

    text: str


class CallEvent(ItemEvent, frozen=True, kw_only=True):
    """An event of a function call."""

    item_id: str


class FunctionCallArgumentsDelta(
    CallEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    """A piece of a call's arguments."""

    delta: str


class FunctionCallArgumentsDone(
    CallEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    """A call's arguments, whole."""

    name: str
    arguments: str


class StreamError(Event, frozen=True, kw_only=True, tag="error"):
    """What went wrong, as OpenAI's reference has it and as its SDKs look for it."""

    code: str | None
    message: str
    param: str | None
    error: ErrorDetail


StreamEvent = (
    ResponseCreated
    | ResponseInProgress
    | OutputItemAdded
    | ContentPartAdded
    | OutputTextDelta
    | OutputTextDone
    | ReasoningTextDelta
    | ReasoningTextDone
    | ContentPartDone
    | FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | OutputItemDone
    | ResponseCompleted
    | ResponseIncomplete
    | StreamError
    | ResponseFailed
)


def named(event: Event) -> bytes:
    """Write an event under its name."""
    return f"event: {event.__struct_config__.tag}\n".encode() + data(event)
