"""An answer as server-sent events, from role chunk to ``[DONE]``.

Every event and every comment is one write that ends with a blank line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.api import schemas as wire
from openkimi.api.completion import Header, usage_in
from openkimi.api.convert import delta_of, logprobs_of, usage_of
from openkimi.api.errors import failure_of, log_failure
from openkimi.messages import Delta, FinishReason, Usage
from openkimi.pipeline import Event
from openkimi.receipt import Receipt
from openkimi.streams import Pump

KEEP_ALIVE_SECONDS = 5.0
FIRST_SECONDS = 0.9
"""How long an error may still become an HTTP status before the stream starts."""

_COMMENT = b": still working\n\n"
_DONE = b"data: [DONE]\n\n"
_encoder = msgspec.json.Encoder()


class EventStream:
    """The bytes of a streamed answer; closing it stops the work behind it.

    An object and not a generator: closing a generator that never started would skip its clean-up.
    """

    def __init__(self, events: AsyncIterator[Event], header: Header, *, n: int, include_usage: bool) -> None:
        self._pump = Pump(events)
        self._chunks = _Chunks(header, include_usage=include_usage)
        self._early: list[Event] = []
        self._bytes = self._write(n)

    async def start(self) -> None:
        """Wait a moment for the first delta, so that early failures can be told as HTTP errors.

        Raises:
            Exception: what went wrong before the first delta.
        """
        try:
            while not any(isinstance(event, Delta) for event in self._early):
                event = await self._pump.next(FIRST_SECONDS)
                if event is None:
                    return
                self._early.append(event)
        except StopAsyncIteration:
            return
        except BaseException:
            await self.aclose()
            raise

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._bytes

    async def aclose(self) -> None:
        """Stop the work and wait until it has let go of the model."""
        await self._pump.aclose()

    async def _write(self, n: int) -> AsyncIterator[bytes]:
        for index in range(n):
            yield _event(self._chunks.role(index))
        for early in self._early:
            for chunk in self._chunks.of(early):
                yield _event(chunk)
        try:
            while True:
                event = await self._pump.next(KEEP_ALIVE_SECONDS)
                if event is None:
                    yield _COMMENT
                    continue
                for chunk in self._chunks.of(event):
                    yield _event(chunk)
        except StopAsyncIteration:
            for chunk in self._chunks.end():
                yield _event(chunk)
            yield _DONE
        except Exception as error:  # noqa: BLE001 - the status is sent: an event is all that is left
            failure = failure_of(error)
            log_failure(failure, error)
            yield _event(wire.ErrorBody(error=failure.detail))


class _Chunks:
    """Makes chunks of events; the receipt rides on the last chunk of a choice."""

    def __init__(self, header: Header, *, include_usage: bool) -> None:
        self._header = header
        self._include_usage = include_usage
        self._usage = Usage()
        self._receipt: Receipt | UnsetType = UNSET

    def role(self, index: int) -> wire.ChatCompletionChunk:
        return self._chunk(index, wire.ChoiceDelta(role="assistant", content=""))

    def of(self, event: Event) -> Iterator[wire.ChatCompletionChunk]:
        if isinstance(event, Receipt):
            self._receipt = event
            return
        self._usage += usage_in(event)
        delta = delta_of(event)
        if delta != wire.ChoiceDelta() or event.logprobs:
            yield self._chunk(event.index, delta, logprobs=logprobs_of(event.logprobs))
        if event.finish_reason is not None:
            last = self._chunk(event.index, wire.ChoiceDelta(), finish_reason=event.finish_reason)
            yield msgspec.structs.replace(last, openkimi=self._receipt)

    def end(self) -> Iterator[wire.ChatCompletionChunk]:
        if self._include_usage:
            usage = usage_of(self._usage)
            yield msgspec.structs.replace(self._chunk(0, wire.ChoiceDelta()), choices=[], usage=usage)

    def _chunk(
        self,
        index: int,
        delta: wire.ChoiceDelta,
        *,
        finish_reason: FinishReason | None = None,
        logprobs: wire.Logprobs | None = None,
    ) -> wire.ChatCompletionChunk:
        choice = wire.ChunkChoice(index=index, delta=delta, finish_reason=finish_reason, logprobs=logprobs)
        return wire.ChatCompletionChunk(
            id=self._header.id,
            created=self._header.created,
            model=self._header.model,
            choices=[choice],
            usage=None if self._include_usage else UNSET,
        )


def _event(body: msgspec.Struct) -> bytes:
    return b"data: " + _encoder.encode(body) + b"\n\n"
