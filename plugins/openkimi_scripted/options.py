"""The options of the scripted backend."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

DEFAULT_CONTEXT_LENGTH = 8192


class ScriptedToolCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call to answer with."""

    name: Annotated[str, Meta(description="The name of the function.")]
    arguments: Annotated[
        dict[str, Any] | str,
        Meta(description="Its arguments: an object, or a string that is sent as it is."),
    ] = {}


class ScriptedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the scripted backend poses as, what it says and how it fails.

    Tool calls come first, then ``reply``, then ``echo``; without any of these the answer is the sentence
    of the prompt that is nearest to the question.
    """

    context_length: Annotated[
        Annotated[int, Meta(ge=16)] | None,
        Meta(description="Tokens of prompt and answer together; null: 8192."),
    ] = DEFAULT_CONTEXT_LENGTH
    parameters: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="The number of weights to pose with; small models get short prompts."),
    ] = None
    reply: Annotated[
        str | None, Meta(description="Answer with this text; null: a sentence of the prompt.")
    ] = None
    reasoning: Annotated[str, Meta(description="Reasoning to send before the answer.")] = ""
    echo: Annotated[bool, Meta(description="Answer with the rendered prompt.")] = False
    tool_calls: Annotated[
        tuple[ScriptedToolCall, ...],
        Meta(description="Calls to answer with, of tools offered, where the last message is no tool's."),
    ] = ()
    chunk_size: Annotated[
        int,
        Meta(ge=1, description="Gather tokens into deltas of at least this many characters; 1: one each."),
    ] = 1
    concurrency: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="How many requests are worked on at once, others wait; null: all."),
    ] = None
    delay: Annotated[float, Meta(ge=0, description="Seconds before the first delta.")] = 0.0
    token_delay: Annotated[float, Meta(ge=0, description="Seconds between deltas.")] = 0.0
    fail_before: Annotated[
        str | None, Meta(description="Fail with this message before the first delta; null: don't.")
    ] = None
    fail_after: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Fail after that many deltas, or before the last one; null: don't."),
    ] = None
    fail_kind: Annotated[
        Literal["backend", "unavailable", "timeout"], Meta(description="Which error a failure is.")
    ] = "backend"
