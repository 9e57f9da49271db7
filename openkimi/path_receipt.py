"""The receipt of several reasoning paths: what each of them answered, and what bears that out."""

from __future__ import annotations

from typing import Literal

import msgspec

from openkimi.messages import FinishReason, Usage

Stop = Literal["gate", "agreement", "timeout", "tokens"]
"""Why paths were left out: the first was clear, enough agree, it took too long, it would cost too much."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of a passage, with offsets as those of a citation."""

    document: str
    message: int | None
    start: int
    end: int
    quote: str


class CalledTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a candidate called; ``arguments`` is JSON text."""

    name: str
    arguments: str


class PathReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a path.

    ``agrees`` tells whether it says what the answer says, None where that is not known or the answer was
    declined. ``support`` is the share of its sentences that the passages it read have, None where it read
    none or says nothing that can be looked for; ``supported_by`` are the sentences that have it. ``error``
    says why there is no answer.
    """

    index: int
    answer: str | None = None
    tool_calls: tuple[CalledTool, ...] = ()
    agrees: bool | None = None
    support: float | None = None
    supported_by: tuple[Quote, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage = Usage()
    error: str | None = None


class MprReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer was made of several paths; ``choice`` is the answer's number.

    Of the paths that were ``planned`` so many were ``walked``, some of them without coming to an answer;
    ``stopped`` says why not all were. ``chosen`` is the index of the candidate that was taken as it is, None
    for an answer that was written anew, or ``declined`` since it is not ``supported``. ``usage`` is that of
    all paths and of what was written out of them.
    """

    choice: int = 0
    planned: int
    walked: int
    stopped: Stop | None = None
    chosen: int | None = None
    agreement: float | None = None
    supported: bool | None = None
    declined: bool = False
    usage: Usage = Usage()
    candidates: tuple[PathReceipt, ...] = ()
