"""Works on several answers at once, in one thread: a slice of a prompt or a token of one after the other.

Whoever has had the least of the model's time goes next (start-time fair queueing, Goyal et al. 1996), so
that a long prompt does not hold up an answer that is being written, nor many answers a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from openkimi import BackendError, BackendUnavailable, OpenKimiError
from openkimi_llama_cpp.context import UNIT, Context, Interrupted, Stream
from openkimi_llama_cpp.job import Job
from openkimi_llama_cpp.prompts import Prompts
from openkimi_llama_cpp.reading import common_prefix

# While somebody else waits for a token, a slice of a prompt takes about so many seconds.
SLICE_SECONDS = 0.2
# Saving to disk waits until nobody has asked for so many seconds.
IDLE_SECONDS = 1.0

_log = structlog.get_logger("openkimi_llama_cpp")


class Scheduler:
    """Jobs that wait for a stream, and those that have one; only :meth:`run` touches the model.

    ``together`` evaluates one token of every answer in one batch, which a GPU does in the time of one. On a
    CPU it gains nothing, and would make an answer depend on what else is being answered.
    """

    def __init__(self, context: Context, prompts: Prompts, *, together: bool) -> None:
        self._context = context
        self._prompts = prompts
        self._together = together
        self._changed = threading.Condition()
        self._running: Sequence[Job] = ()
        self._waiting: list[Job] = []
        self._active: dict[Stream, Job] = {}
        self._closed = False
        self._seconds_per_token = 0.0

    @property
    def busy(self) -> bool:
        """Whether a job has a stream or waits for one."""
        return bool(self._waiting or self._active)

    def submit(self, job: Job) -> None:
        """Let a job begin when there is a stream for it; from any thread.

        Raises:
            BackendUnavailable: the model is closed.
        """
        with self._changed:
            if self._closed:
                raise BackendUnavailable("the model is closed")
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Stop a job, in the middle of an evaluation where that is its own; from any thread."""
        with self._changed:
            job.cancelled = True
            if list(self._running) == [job]:
                self._context.interrupt.set()
            self._changed.notify()

    def close(self) -> None:
        """Stop everything; :meth:`run` returns soon."""
        with self._changed:
            self._closed = True
            self._context.interrupt.set()
            self._changed.notify()

    def run(self) -> None:
        """Work until :meth:`close`; then every job that is left has failed."""
        while self._wait():
            self._drop_cancelled()
            self._begin()
            if jobs := self._next():
                self._step(jobs)
        with self._changed:
            left, self._waiting = [*self._active.values(), *self._waiting], []
            self._active.clear()
        for job in left:
            job.fail(BackendUnavailable("the model was closed before the answer was complete"))

    def _wait(self) -> bool:
        """Wait for work; save what is worth it when there has been none for a while. False when closed."""
        with self._changed:
            if self._changed.wait_for(self._has_work, None if self._prompts.settled else IDLE_SECONDS):
                return not self._closed
        self._prompts.settle()
        return True

    def _has_work(self) -> bool:
        return self._closed or self.busy

    def _drop_cancelled(self) -> None:
        with self._changed:
            dropped = [job for job in self._waiting if job.cancelled]
            self._waiting = [job for job in self._waiting if not job.cancelled]
        for job in dropped:
            job.end()
        for job in [job for job in self._active.values() if job.cancelled]:
            self._end(job)

    def _begin(self) -> None:
        """Give streams to waiting jobs, in the order that they came."""
        with self._changed:
            waiting = list(self._waiting)
        for job in waiting:
            free = [stream for stream in self._context.streams if stream not in self._active]
            if not free:
                return
            if self._is_being_read(job):
                continue
            with self._changed:
                self._waiting.remove(job)
            spent = min((other.spent for other in self._active.values()), default=0.0)
            try:
                stream = self._prompts.stream_for(job.tokens, free, reproducible=job.reproducible)
                self._active[stream] = job
                job.begin(self._context, stream, spent)
            except Exception as error:  # noqa: BLE001 - one job's failure is its own
                self._fail([job], error)

    def _is_being_read(self, job: Job) -> bool:
        """Tell whether another job is about to read the beginning of this one's prompt, for both of them."""
        reading = {stream: other for stream, other in self._active.items() if other.reading}
        shared = [(common_prefix(other.tokens, job.tokens), other.read) for other in reading.values()]
        ahead = max((length for length, read in shared if length > read), default=0)
        others = [stream for stream in self._context.streams if stream not in reading]
        return ahead > UNIT + self._prompts.known(job.tokens, others, reproducible=job.reproducible)

    def _next(self) -> list[Job]:
        if not self._active:
            return []
        first = min(self._active.values(), key=lambda job: job.spent)
        if not self._together or first.reading:
            return [first]
        return [job for job in self._active.values() if not job.reading]

    def _step(self, jobs: list[Job]) -> None:
        with self._changed:
            if self._closed or any(job.cancelled for job in jobs):
                return
            self._context.interrupt.clear()
            self._running = jobs
        began = time.perf_counter()
        try:
            finished = self._advance(jobs)
        except Interrupted:
            finished = []
        except Exception as error:  # noqa: BLE001 - handed to those who wait for the answers
            self._fail(jobs, error)
            return
        finally:
            with self._changed:
                self._running = ()
            share = (time.perf_counter() - began) / len(jobs)
            for job in jobs:
                job.spent += share
        for job in finished:
            self._end(job)

    def _advance(self, jobs: list[Job]) -> list[Job]:
        """Read a slice of a prompt, or write a token of each answer; return the jobs that are done."""
        [job, *others] = jobs
        if job.reading:
            return [job] if self._read(job) else []
        if not others:
            return [job] if job.write(self._context.decode(job.stream, [job.token])) else []
        logits = self._context.decode_each([job.stream for job in jobs], [job.token for job in jobs])
        return [job for job, own in zip(jobs, logits, strict=True) if job.write(own)]

    def _read(self, job: Job) -> bool:
        before, began = job.read, time.perf_counter()
        done = job.read_on(self._slice())
        if count := job.read - before:
            self._seconds_per_token = (time.perf_counter() - began) / count
        return done

    def _slice(self) -> int:
        """Choose how many tokens to read at once: all that a batch holds, unless somebody else waits."""
        most = self._context.most_at_once if self._context.interrupt.native else UNIT
        if len(self._active) + len(self._waiting) == 1 or not self._seconds_per_token:
            return most
        return max(UNIT, min(most, int(SLICE_SECONDS / self._seconds_per_token) // UNIT * UNIT))

    def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        if not isinstance(error, OpenKimiError):
            _log.debug("llama_cpp_failed", exc_info=error)
            error = BackendError(f"llama.cpp failed: {type(error).__name__}")
        for job in jobs:
            self._release(job)
            job.fail(error)

    def _end(self, job: Job) -> None:
        self._release(job)
        job.end()

    def _release(self, job: Job) -> None:
        self._active = {stream: other for stream, other in self._active.items() if other is not job}
