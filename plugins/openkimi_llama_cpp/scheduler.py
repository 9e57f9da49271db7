"""Works on several answers at once, in one thread: a slice of a prompt or a token of one after the other.

Prompts and answers share the model's time by their numbers, so that a long prompt does not hold up an answer
that is being written. Of the prompts, that one is read which would end first if all were read side by side
(fair queueing, Demers et al. 1989): a short one overtakes a long one, equal ones keep their order, and none
ends much later than it would side by side. Of the answers, that one goes on which has had the least time.
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

# A slice of a prompt takes about so many seconds, which is what somebody else may have to wait.
SLICE_SECONDS = 0.3
SLICE_SECONDS_ALONE = 1.0
# Saving to disk waits until nobody has asked for so many seconds.
IDLE_SECONDS = 1.0
# What reading a token takes, in seconds, as long as none was read.
A_TOKEN = 0.001

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
        self._tokens_read = 0.0  # of each prompt, had they all been read side by side
        self._clocks = {True: 0.0, False: 0.0}  # the time of each prompt that is read, and of each answer

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
            jobs, count = self._next()
            if jobs:
                self._step(jobs, count)
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
            try:
                stream = self._prompts.stream_for(job.tokens, free, reproducible=job.reproducible)
                self._active[stream] = job
                job.begin(self._context, stream)
                job.due = self._tokens_read + len(job.tokens) - job.read
            except Exception as error:  # noqa: BLE001 - one job's failure is its own
                self._fail([job], error)

    def _is_being_read(self, job: Job) -> bool:
        """Tell whether another job is about to read the beginning of this one's prompt, for both of them."""
        reading = {stream: other for stream, other in self._active.items() if other.reading}
        shared = [(common_prefix(other.tokens, job.tokens), other.read) for other in reading.values()]
        ahead = max((length for length, read in shared if length > read), default=0)
        others = [stream for stream in self._context.streams if stream not in reading]
        return ahead > UNIT + self._prompts.known(job.tokens, others, reproducible=job.reproducible)

    def _next(self) -> tuple[list[Job], int]:
        """Choose the jobs that go on now, with the number of all jobs that do what they do."""
        readers = [job for job in self._active.values() if job.reading]
        writers = [job for job in self._active.values() if not job.reading]
        if not readers or not writers:
            self._clocks[not readers] = self._clocks[bool(readers)]
        if readers and self._clocks[True] <= self._clocks[False]:
            return [min(readers, key=lambda job: job.due)], len(readers)
        if self._together or not writers:
            return writers, len(writers)
        return [min(writers, key=lambda job: job.due)], len(writers)

    def _step(self, jobs: list[Job], count: int) -> None:
        with self._changed:
            if self._closed or any(job.cancelled for job in jobs):
                return
            self._context.interrupt.clear()
            self._running = jobs
        began, reading = time.perf_counter(), jobs[0].reading
        try:
            finished = self._advance(jobs, count)
        except Interrupted:
            finished = []
        except Exception as error:  # noqa: BLE001 - handed to those who wait for the answers
            self._fail(jobs, error)
            return
        finally:
            with self._changed:
                self._running = ()
            passed = time.perf_counter() - began
            self._clocks[reading] += passed / count
            for job in jobs:
                job.due = self._clocks[False] if reading and not job.reading else job.due
                job.due += 0.0 if reading else passed / len(jobs)
        for job in finished:
            self._end(job)

    def _advance(self, jobs: list[Job], count: int) -> list[Job]:
        """Read a slice of a prompt, or write a token of each answer; return the jobs that are done."""
        [job, *others] = jobs
        if job.reading:
            return [job] if self._read(job, count) else []
        if not others:
            return [job] if job.write(self._context.decode(job.stream, [job.token])) else []
        logits = self._context.decode_each([job.stream for job in jobs], [job.token for job in jobs])
        return [job for job, own in zip(jobs, logits, strict=True) if job.write(own)]

    def _read(self, job: Job, readers: int) -> bool:
        before, began = job.read, time.perf_counter()
        done = job.read_on(self._slice())
        count = job.read - before
        self._tokens_read += count / readers
        if count >= UNIT:
            self._seconds_per_token = (time.perf_counter() - began) / count
        return done

    def _slice(self) -> int:
        """Choose how many tokens to read at once, so that whoever is here or comes need not wait long."""
        most = self._context.most_at_once if self._context.interrupt.native else UNIT
        alone = len(self._active) + len(self._waiting) == 1
        seconds = SLICE_SECONDS_ALONE if alone else SLICE_SECONDS
        tokens = max(UNIT, min(most, int(seconds / (self._seconds_per_token or A_TOKEN))))
        # Powers of two: 192 tokens took longer each than 128, by a tenth, and 512 a tenth less.
        return 1 << tokens.bit_length() - 1

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
