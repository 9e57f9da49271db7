"""An answer as server-sent events.

Every event and every comment is one write that ends with a blank line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from openkimi.api.deadline import Deadline
from openkimi.api.errors import failure_of, log_failure
from openkimi.api.schemas import ErrorDetail
from openkimi.messages import Delta
from openkimi.pipeline import AnswerPart, Event
from openkimi.progress import Progress

KEEP_ALIVE_SECONDS = 5.0
FIRST_SECONDS = 0.9
"""How long an error may still become an HTTP status before the stream starts."""

_COMMENT = b": still working\n\n"
_TICK = 0.001
_encoder = msgspec.json.Encoder()

Start = Callable[[], Awaitable[None]]
Write = Callable[[bytes], Awaitable[None]]


class Writer(Protocol):
    """Writes an answer as one of OpenAI's kinds of stream; each method returns whole events."""

    def begin(self) -> Iterable[bytes]:
        """Write what stands before everything else."""
        ...

    def write(self, event: AnswerPart) -> Iterable[bytes]:
        """Write what a delta or a receipt adds."""
        ...

    def end(self) -> Iterable[bytes]:
        """Write what ends a whole answer."""
        ...

    def fail(self, error: ErrorDetail) -> Iterable[bytes]:
        """Write what ends an answer that failed."""
        ...


class EventStream:
    """Sends an answer as events, with comments while there is nothing else to send."""

    def __init__(self, events: AsyncGenerator[Event, None], writer: Writer, *, deadline: Deadline) -> None:
        self._events = events
        self._writer = writer
        self._deadline = deadline
        self._early: list[AnswerPart] = []
        self._comment = _COMMENT
        self._begun = False
        self._sending = False

    async def run(self, start: Start, write: Write) -> None:
        """Send all of it: ``start`` sends the status, ``write`` what follows, event by event.

        Raises:
            Exception: what went wrong before the first delta, which an HTTP status can still tell.
        """
        self._start, self._write = start, write
        self._silence = Silence(self._fill)
        try:
            with self._deadline:
                async with aclosing(self._events) as events:
                    async for event in events:
                        if isinstance(event, Progress):
                            await self._tell(event)
                        elif not self._keeps(event):
                            await self._send(self._writer.write(event))
            await self._send(self._writer.end())
        except Exception as error:
            if not self._begun:
                raise
            failure = failure_of(error)
            log_failure(failure, error)
            await self._send(self._writer.fail(failure.detail))
        finally:
            await self._silence.end()

    async def _tell(self, progress: Progress) -> None:
        """Send progress as a comment; before the stream has begun, keep the latest for its first silence."""
        self._comment = b": openkimi " + progress.text.encode() + b"\n\n"
        self._deadline.began = self._deadline.began or progress.by_model
        if self._begun:
            await self._send([self._comment])

    def _keeps(self, event: AnswerPart) -> bool:
        """Keep for later what comes before there is something of an answer, and would be its beginning."""
        if isinstance(event, Delta):
            self._deadline.began = True
            self._comment = _COMMENT
        elif not self._begun:
            self._early.append(event)
            return True
        return False

    async def _fill(self) -> None:
        """Send a comment, after the status where that is to do, unless a slow client is being sent to."""
        if self._sending:
            return
        if not self._begun:
            await self._begin()
        await self._write(self._comment)

    async def _send(self, lines: Iterable[bytes]) -> None:
        if self._silence.filling is not None:
            await self._silence.filled()
        self._sending = True
        if not self._begun:
            await self._begin()
        for line in lines:
            await self._write(line)
        self._sending = False
        self._silence.broken()

    async def _begin(self) -> None:
        self._begun = True
        await self._start()
        for line in self._writer.begin():
            await self._write(line)
        for event in self._early:
            for line in self._writer.write(event):
                await self._write(line)


class Silence:
    """Calls ``fill`` when nothing was sent for a while: first after a moment, then every few seconds."""

    def __init__(self, fill: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._fill = fill
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self.filling: asyncio.Task[None] | None = None
        self._wait = FIRST_SECONDS
        self._timer = self._loop.call_later(self._wait, self._look)

    def broken(self) -> None:
        """Note that something was sent."""
        self._since = self._loop.time()

    async def filled(self) -> None:
        """Wait until what is being filled in is through."""
        while (filling := self.filling) is not None:
            await asyncio.wait([filling])
            if self.filling is filling:  # while one was waited for, the next may have begun
                self.filling = None
            filling.result()

    async def end(self) -> None:
        """Fill no more."""
        self._timer.cancel()
        if self.filling is not None:
            self.filling.cancel()
            await asyncio.gather(self.filling, return_exceptions=True)

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._since >= self._wait - _TICK and (self.filling is None or self.filling.done()):
            self.filling = asyncio.create_task(self._fill())
            self._since = now
        self._wait = KEEP_ALIVE_SECONDS
        self._timer = self._loop.call_later(max(_TICK, self._since + self._wait - now), self._look)


def data(body: msgspec.Struct) -> bytes:
    """Write an event that has no name."""
    return b"data: " + _encoder.encode(body) + b"\n\n"
