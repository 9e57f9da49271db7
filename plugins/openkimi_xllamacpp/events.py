"""The events that an answer of the engine is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from openkimi import BackendError


class Alternative(msgspec.Struct, frozen=True):
    """A token and its natural log-probability, None where that is minus infinity."""

    token: str = ""
    bytes: tuple[int, ...] = ()
    logprob: float | None = None


class Probability(Alternative, frozen=True):
    """The token that was chosen, with the likeliest ones in its place."""

    top_logprobs: tuple[Alternative, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """How far the prompt has been read; ``cache`` of its tokens needed no reading."""

    cache: int = 0


class Fault(msgspec.Struct, frozen=True):
    """What went wrong in the middle of an answer."""

    message: str = ""
    type: str = ""


class Event(msgspec.Struct, frozen=True):
    """One step of an answer; the last one has ``stop`` set and counts everything."""

    content: str = ""
    completion_probabilities: tuple[Probability, ...] = ()
    prompt_progress: Progress | None = None
    stop: bool = False
    stop_type: str = ""
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    error: Fault | None = None


LAST_FIELDS = ("content", "stop", "stop_type", "tokens_evaluated", "tokens_predicted")
"""What the last event is asked to hold; it would tell the whole prompt else."""

_decode = msgspec.json.Decoder(Event).decode


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """Decode a stream of server-sent events.

    Raises:
        BackendError: an event is not what this version of the engine is known to send.
    """
    rest = b""
    async for chunk in chunks:
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            name, _, data = block.partition(b": ")
            if name == b"data" and data != b"[DONE]":
                try:
                    yield _decode(data)
                except msgspec.MsgspecError as error:
                    raise BackendError(f"the engine's answer cannot be read: {error}") from error
