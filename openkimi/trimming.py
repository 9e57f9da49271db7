"""Gives memory back while the gateway runs: on a schedule, and when there is more than a ceiling of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import structlog

from openkimi.ending import end
from openkimi.process_memory import resident_memory

if TYPE_CHECKING:
    from openkimi.engine import KimiEngine

log = structlog.get_logger()

PAUSE = 30.0
"""Seconds from a trim under the ceiling to the next; each one in vain doubles them."""
LONGEST_PAUSE = 3600.0
PATIENCE = 60.0
"""Seconds for which a trim that is due waits for a moment when no request runs."""
_LOOK_EVERY = 5.0
_MOST_SECONDS = 60.0
_TOO_LOW = (
    "what is left cannot be made anew: raise server.memory_ceiling, or take less by a smaller model, "
    "llm.context_length or llm.parallel; where it has grown for days, restart the gateway"
)


class Trims(Protocol):
    """What can let go of memory."""

    async def trim(self) -> None:
        """Let go of what can be made anew."""
        ...


async def trim_each(parts: Iterable[Trims]) -> None:
    """Trim several parts, however many of them fail at it: those are named in the log."""
    await asyncio.gather(*map(_trim, parts))


async def _trim(part: Trims) -> None:
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            await part.trim()
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        # What the error says may quote a text.
        kind = type(getattr(part, "component", part))
        log.warning(
            "not_trimmed",
            module=kind.__module__.partition(".")[0],
            component=kind.__name__,
            reason=type(error).__name__,
        )
        log.debug("not_trimmed_because", exc_info=error)


def _is_cancelled() -> bool:
    """Tell whether this task is, and not just something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Trimming:
    """Decides when an engine is to trim, at one :meth:`look` after the other.

    ``server.trim_interval`` and ``server.memory_ceiling`` are read at each look. ``resident`` tells the
    bytes that the process has, ``clock`` the time in seconds.
    """

    def __init__(
        self,
        engine: KimiEngine,
        *,
        resident: Callable[[], int | None] = resident_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._resident = resident
        self._clock = clock
        self._trimmed: float | None = None
        self._done: object = None
        self._ceiling: int | None = None
        self._next = 0.0
        self._in_vain = 0

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Look every few seconds while an application runs."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await end(task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look()
            except Exception:
                log.exception("trimming_failed")

    async def look(self) -> None:
        """Trim if it is time to; nothing is, while the engine is not open."""
        if not self._engine.is_open:
            return
        if self._trimmed is None:
            self._note()
        await self._heed_ceiling()
        await self._heed_interval()

    async def _heed_interval(self) -> None:
        """Trim when the interval is over, if anything was done in it, rather when no request runs."""
        interval, statistics = self._engine.config.server.trim_interval, self._engine.statistics
        if interval is None or self._trimmed is None or self._done == self._work:
            return
        overdue = self._clock() - self._trimmed - interval
        busy = statistics.running or statistics.waiting
        if overdue >= (PATIENCE if busy else 0):
            await self._trim("trim_interval")

    async def _heed_ceiling(self) -> None:
        """Trim when there is more than may be, and less and less often while that is in vain."""
        ceiling = self._engine.config.server.memory_ceiling_bytes
        if ceiling != self._ceiling:
            self._ceiling, self._next, self._in_vain = ceiling, 0.0, 0
        if ceiling is None:
            return
        resident = await asyncio.to_thread(self._resident)
        if resident is not None and resident <= ceiling:
            if self._in_vain:
                self._next, self._in_vain = 0.0, 0
        elif self._clock() < self._next:
            return
        elif resident is None:
            self._next = self._clock() + LONGEST_PAUSE
            log.warning("memory_not_known", remedy="server.memory_ceiling has no effect on this system")
        else:
            self._judge(ceiling, await self._trim("memory_ceiling"))

    def _judge(self, ceiling: int, resident: int | None) -> None:
        """Choose when to try again; the second time in vain says what to do."""
        self._in_vain = self._in_vain + 1 if resident is not None and resident > ceiling else 0
        pause = min(PAUSE * 2**self._in_vain, LONGEST_PAUSE)
        self._next = self._clock() + pause
        if self._in_vain == 2:
            log.warning(
                "memory_ceiling_exceeded",
                megabytes=_megabytes(resident),
                ceiling=_megabytes(ceiling),
                remedy=_TOO_LOW,
            )

    async def _trim(self, reason: str) -> int | None:
        """Trim, say in the log what came of it, and return how many bytes there are now."""
        self._note()
        before = await asyncio.to_thread(self._resident)
        await self._engine.trim()
        after = await asyncio.to_thread(self._resident)
        given_back = None if before is None or after is None else _megabytes(before - after)
        log.info("trimmed", reason=reason, megabytes=_megabytes(after), given_back=given_back)
        return after

    def _note(self) -> None:
        self._trimmed, self._done = self._clock(), self._work

    @property
    def _work(self) -> object:
        """What was done so far: it is another one when more has been done."""
        now = self._engine.statistics
        return (now.requests, now.answers, now.failed, now.documents)


def _megabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)
