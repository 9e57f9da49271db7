"""Walks several reasoning paths, until the answer is clear or enough was spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec
import structlog

from openkimi.contracts import Backend, Candidate
from openkimi.degrading import blame
from openkimi.documents import Hit
from openkimi.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    OpenKimiError,
    RequestError,
    UpstreamError,
)
from openkimi.messages import Delta, Usage
from openkimi.path_receipt import Stop
from openkimi.spending import Spending
from openkimi.streams import closing

Settled = Callable[[Sequence[Candidate]], bool]
"""Tells whether the answer is clear from the candidates that have come."""

_BROKEN_OFF = "broken off: it was not needed any more"

log = structlog.get_logger()


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One reasoning path: how to start it, the passages it reads, and the tokens of its prompt."""

    start: Callable[[], AsyncIterator[Delta]]
    context: tuple[Hit, ...]
    prompt_tokens: int


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How paths are walked.

    ``at_once`` of them at most, and the first one alone where the ``gate`` is on. After ``timeout`` seconds
    no more are waited for once one has come. Behind the first no path starts that would take more than
    ``max_total_tokens`` in all; till one has come an answer is taken to have ``expected`` tokens.
    """

    at_once: int
    gate: bool
    early_stop: bool
    timeout: float | None = None
    max_total_tokens: int | None = None
    expected: int = 0


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a path: its candidate, and the deltas that it was made of."""

    candidate: Candidate
    deltas: tuple[Delta, ...]

    @property
    def index(self) -> int:
        """The number of the path."""
        return self.candidate.index

    @property
    def usage(self) -> Usage:
        """What it has used."""
        return self.candidate.usage


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A path that gave no candidate: why in a few words, and what it has used."""

    index: int
    error: str
    usage: Usage


class Walk:
    """A walk along paths: what has come so far, and why no more will."""

    def __init__(self, backend: Backend, paths: Sequence[Path], manner: Manner, settled: Settled) -> None:
        self.planned = len(paths)
        self.walked: list[Walked] = []
        self.failed: list[Failed] = []
        self.stopped: Stop | None = None
        self._backend = backend
        self._manner = manner
        self._settled = settled
        self._left = list(enumerate(paths))
        self._running: dict[asyncio.Task[None], _Attempt] = {}
        self._errors: dict[int, Exception] = {}
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates that have come, in the order of their paths."""
        return [walked.candidate for walked in self.walked]

    @property
    def spent(self) -> Usage:
        """What all paths have used, also those that failed or were broken off."""
        return sum(self.usages.values(), start=Usage())

    @property
    def usages(self) -> dict[int, Usage]:
        """What each path that ended has used, by its number."""
        walked = {path.index: path.usage for path in self.walked}
        return walked | {path.index: path.usage for path in self.failed}

    async def steps(self) -> AsyncGenerator[Walked | Failed, None]:
        """Walk, and yield what came of each path as soon as it has; closing it breaks the others off.

        Raises:
            Exception: all of them failed; it is the first one's error, which says so.
        """
        try:
            while self._start_more():
                for task in sorted(await self._ended(), key=lambda task: self._running[task].index):
                    yield await self._note(self._running.pop(task), task)
        finally:
            broken_off = await self._break_off()
        for task, attempt in broken_off.items():
            yield await (self._fail(attempt, _BROKEN_OFF) if task.cancelled() else self._note(attempt, task))
        if not self.walked:
            raise self._all_failed()
        for error in self._errors.values():
            blame(self._backend, "generate", error)

    def _start_more(self) -> bool:
        """Start the paths that may start now; False when there is nothing more to wait for."""
        while self._left and self.stopped is None and len(self._running) < self._at_once:
            index, path = self._left[0]
            if (self._running or self.walked) and (why := self._forbidden(path)):
                if not self._running:
                    self.stopped = why
                break
            del self._left[0]
            attempt = _Attempt(index, path)
            self._running[asyncio.create_task(attempt.walk())] = attempt
        return self.stopped is None and bool(self._running)

    @property
    def _at_once(self) -> int:
        return 1 if self._manner.gate and not self.walked else self._manner.at_once

    def _forbidden(self, path: Path) -> Stop | None:
        """Tell why a path must not be started."""
        if self._seconds_left == 0:
            return "timeout"
        most = self._manner.max_total_tokens
        running = sum(attempt.path.prompt_tokens + self._expected for attempt in self._running.values())
        cost = self.spent.total_tokens + running + path.prompt_tokens + self._expected
        return "tokens" if most is not None and cost > most else None

    @property
    def _expected(self) -> int:
        """How many tokens an answer has, by those that have come."""
        written = [walked.usage.completion_tokens for walked in self.walked]
        return round(sum(written) / len(written)) if written else self._manner.expected

    @property
    def _seconds_left(self) -> float | None:
        if self._manner.timeout is None:
            return None
        return max(0.0, self._began + self._manner.timeout - self._loop.time())

    async def _ended(self) -> set[asyncio.Task[None]]:
        """Wait for a path to end; none when it takes too long and something has come."""
        seconds = self._seconds_left if self.walked else None
        ended, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not ended:
            self.stopped = "timeout"
        return ended

    async def _note(self, attempt: _Attempt, task: asyncio.Task[None]) -> Walked | Failed:
        error = BackendUnavailable("it was cancelled") if task.cancelled() else task.exception()
        if error is not None:
            return await self._fail(attempt, _in_words(error), error)
        walked = attempt.walked(await attempt.spending.usage(self._backend))
        self.walked = sorted((*self.walked, walked), key=lambda one: one.index)
        if self.stopped is None and (self._left or self._running) and await self._is_clear():
            self.stopped = "gate" if len(self.walked) == 1 else "agreement"
        return walked

    async def _is_clear(self) -> bool:
        asked = self._manner.gate if len(self.walked) == 1 else self._manner.early_stop
        return asked and await asyncio.to_thread(self._settled, self.candidates)

    async def _fail(self, attempt: _Attempt, why: str, error: BaseException | None = None) -> Failed:
        usage = await attempt.spending.usage(self._backend) if attempt.began else Usage()
        failed = Failed(index=attempt.index, error=why, usage=usage)
        self.failed = sorted((*self.failed, failed), key=lambda one: one.index)
        if isinstance(error, Exception):
            self._errors[attempt.index] = error
            log.warning("path_failed", path=attempt.index, error=type(error).__name__)
            log.debug("path_failed_because", path=attempt.index, exc_info=error)
        return failed

    async def _break_off(self) -> dict[asyncio.Task[None], _Attempt]:
        """Cancel what runs and wait until it has let go of what it held."""
        running, self._running = self._running, {}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return running

    def _all_failed(self) -> Exception:
        """Return the first path's error, saying that the others failed too."""
        first = self._errors[min(self._errors)]
        if isinstance(first, OpenKimiError):
            first.message = f"all {len(self._errors)} reasoning paths failed; the first: {first}"
        return first


class _Attempt:
    """A path that is being walked."""

    def __init__(self, index: int, path: Path) -> None:
        self.index = index
        self.path = path
        self.began = False
        self.spending = Spending(path.prompt_tokens)

    async def walk(self) -> None:
        self.began = True
        async with closing(self.path.start()) as deltas:
            async for delta in deltas:
                self.spending.add(delta)

    def walked(self, usage: Usage) -> Walked:
        answer = self.spending.answer
        candidate = Candidate(
            index=self.index,
            text=answer.text,
            tool_calls=answer.tool_calls,
            context=self.path.context,
            finish_reason=answer.finish_reason,
            usage=usage,
        )
        return Walked(candidate=candidate, deltas=tuple(self.spending.deltas))


def _in_words(error: BaseException) -> str:
    """Say what kind of failure it was, with nothing of a text in it."""
    if isinstance(error, BackendTimeout):
        return "the model took too long"
    if isinstance(error, BackendUnavailable):
        return "the model was not available"
    if isinstance(error, UpstreamError):
        return f"the model's server answered with status {error.status}"
    if isinstance(error, BackendError):
        return "the model failed"
    return "the request was refused" if isinstance(error, RequestError) else "an unforeseen failure"
