"""An answer as server-sent events.

Every event and every comment is one write that ends with a blank line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import msgspec

from openkimi.api.deadline import Deadline
from openkimi.api.errors import failure_of, log_failure
from openkimi.api.schemas import ErrorDetail
from openkimi.messages import Delta
from openkimi.pipeline import Event
from openkimi.streams import Pump

KEEP_ALIVE_SECONDS = 5.0
FIRST_SECONDS = 0.9
"""How long an error may still become an HTTP status before the stream starts."""

_COMMENT = b": still working\n\n"
_encoder = msgspec.json.Encoder()


class Writer(Protocol):
    """Writes an answer as one of OpenAI's kinds of stream; each method returns whole events."""

    def begin(self) -> Iterable[bytes]:
        """Write what stands before everything else."""
        ...

    def write(self, event: Event) -> Iterable[bytes]:
        """Write what a delta or a receipt adds."""
        ...

    def end(self) -> Iterable[bytes]:
        """Write what ends a whole answer."""
        ...

    def fail(self, error: ErrorDetail) -> Iterable[bytes]:
        """Write what ends an answer that failed."""
        ...


class EventStream:
    """The bytes of a streamed answer; closing it stops the work behind it.

    An object and not a generator: closing a generator that never started would skip its clean-up.
    """

    def __init__(self, events: AsyncIterator[Event], writer: Writer, *, deadline: Deadline) -> None:
        self._pump = Pump(events, within=deadline)
        self._deadline = deadline
        self._writer = writer
        self._early: deque[Event] = deque()
        self._bytes = self._write()

    async def start(self) -> None:
        """Wait a moment for the first delta, so that early failures can be told as HTTP errors.

        Raises:
            Exception: what went wrong before the first delta.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + FIRST_SECONDS
        try:
            while not self._deadline.began:
                event = await self._pump.next(until - loop.time())
                if event is None:
                    return
                self._deadline.began = isinstance(event, Delta)
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

    async def _next(self) -> Event | None:
        if self._early:
            return self._early.popleft()
        event = await self._pump.next(KEEP_ALIVE_SECONDS)
        self._deadline.began = self._deadline.began or isinstance(event, Delta)
        return event

    async def _write(self) -> AsyncIterator[bytes]:
        for line in self._writer.begin():
            yield line
        if not self._deadline.began:
            yield _COMMENT
        try:
            while True:
                event = await self._next()
                for line in (_COMMENT,) if event is None else self._writer.write(event):
                    yield line
        except StopAsyncIteration:
            for line in self._writer.end():
                yield line
        except Exception as error:  # noqa: BLE001 - the status is sent: an event is all that is left
            failure = failure_of(error)
            log_failure(failure, error)
            for line in self._writer.fail(failure.detail):
                yield line


def data(body: msgspec.Struct) -> bytes:
    """Write an event that has no name."""
    return b"data: " + _encoder.encode(body) + b"\n\n"
