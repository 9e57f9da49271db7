"""Works on several answers at once, in one thread: a slice of a prompt or a token of one after the other."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog

from openkimi import BackendError, BackendUnavailable, OpenKimiError
from openkimi_llama_cpp.context import UNIT, Context, Interrupted, Stream
from openkimi_llama_cpp.job import Job
from openkimi_llama_cpp.prompts import Prompts
from openkimi_llama_cpp.reading import common_prefix
from openkimi_llama_cpp.turns import Turns

# A slice of a prompt takes about so many seconds, which is what somebody else may have to wait.
SLICE_SECONDS = 0.3
SLICE_SECONDS_ALONE = 1.0
# Saving to disk waits until nobody has asked for so many seconds.
IDLE_SECONDS = 1.0
# What reading a token takes, in seconds, as long as none was read.
A_TOKEN = 0.001

T = TypeVar("T")

_log = structlog.get_logger("openkimi_llama_cpp")


class Scheduler:
    """Jobs that wait for a stream, and those that have one; only :meth:`run` touches the model.

    ``together`` evaluates one token of every answer in one batch, which a GPU does in the time of one. On a
    CPU it gains nothing, and would make an answer depend on what else is being answered.
    """

    def __init__(self, context: Context, prompts: Prompts, *, together: bool) -> None:
        self._context = context
        self._prompts = prompts
        self._turns = Turns(together=together)
        # A request with many answers leaves a stream to others, which costs nothing where answers take turns.
        self._spare = 0 if together else 1
        self._changed = threading.Condition()
        self._running: Sequence[Job] = ()
        self._waiting: list[Job] = []
        self._active: dict[Stream, Job] = {}
        self._chores: list[tuple[Future[Any], Callable[[], Any]]] = []
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

    def between(self, chore: Callable[[], T]) -> Future[T]:
        """Do something in the model's thread, between two steps of the answers; from any thread.

        Raises:
            BackendUnavailable: the model is closed.
        """
        done: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise BackendUnavailable("the model is closed")
            self._chores.append((done, chore))
            self._changed.notify()
        return done

    def close(self) -> None:
        """Stop everything; :meth:`run` returns soon."""
        with self._changed:
            self._closed = True
            self._context.interrupt.set()
            self._changed.notify()

    def run(self) -> None:
        """Work until :meth:`close`; then every job that is left has failed."""
        while self._wait():
            self._do_chores()
            self._drop_cancelled()
            self._begin()
            if jobs := self._turns.next(list(self._active.values())):
                self._step(jobs)
        with self._changed:
            left, self._waiting = [*self._active.values(), *self._waiting], []
            self._active.clear()
        for job in left:
            job.fail(BackendUnavailable("the model was closed before the answer was complete"))
        for done, _ in self._chores:
            if done.set_running_or_notify_cancel():
                done.set_exception(BackendUnavailable("the model is closed"))

    def _wait(self) -> bool:
        """Wait for work; save what is worth it when there has been none for a while. False when closed."""
        with self._changed:
            if self._changed.wait_for(self._has_work, None if self._prompts.settled else IDLE_SECONDS):
                return not self._closed
        self._prompts.settle()
        return True

    def _has_work(self) -> bool:
        return self._closed or self.busy or bool(self._chores)

    def _do_chores(self) -> None:
        with self._changed:
            chores, self._chores = self._chores, []
        for done, chore in chores:
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(chore())
            except Exception as error:  # noqa: BLE001 - handed to who waits for it
                done.set_exception(error)

    def _drop_cancelled(self) -> None:
        with self._changed:
            dropped = [job for job in self._waiting if job.cancelled]
            self._waiting = [job for job in self._waiting if not job.cancelled]
        for job in dropped:
            job.end()
        for job in [job for job in self._active.values() if job.cancelled]:
            self._end(job)

    def _begin(self) -> None:
        """Give streams to waiting jobs: to those first whose request has the fewest, then as they came."""
        with self._changed:
            waiting = list(self._waiting)
        sharing = set[Hashable]()
        while waiting:
            free = [stream for stream in self._context.streams if stream not in self._active]
            held = Counter(job.share for job in self._active.values())
            job = min(waiting, key=lambda job: held[job.share])
            if len(free) <= (len(sharing - held.keys()) + self._spare if held[job.share] else 0):
                return
            waiting.remove(job)
            if not self._is_being_read(job):
                self._start(job, free)
            else:
                sharing.add(job.share)

    def _start(self, job: Job, free: Sequence[Stream]) -> None:
        with self._changed:
            self._waiting.remove(job)
        try:
            stream = self._prompts.stream_for(job.tokens, free, reproducible=job.reproducible)
            self._active[stream] = job
            job.begin(self._context, stream)
        except Exception as error:  # noqa: BLE001 - one job's failure is its own
            self._fail([job], error)

    def _is_being_read(self, job: Job) -> bool:
        """Tell whether another job is about to read the beginning of this one's prompt, for both of them."""
        reading = {stream: other for stream, other in self._active.items() if other.reading}
        shared = [(common_prefix(other.tokens, job.tokens), other.read) for other in reading.values()]
        ahead = max((length for length, read in shared if length > read), default=0)
        others = [stream for stream in self._context.streams if stream not in reading]
        return ahead > UNIT + self._prompts.known(job.tokens, others, reproducible=job.reproducible)

    def _step(self, jobs: list[Job]) -> None:
        with self._changed:
            if self._closed or any(job.cancelled for job in jobs):
                return
            self._context.interrupt.clear()
            self._running = jobs
        try:
            finished = self._read(jobs[0]) if jobs[0].reading else self._write(jobs)
        except Interrupted:
            finished = []
        except Exception as error:  # noqa: BLE001 - handed to those who wait for the answers
            self._fail(jobs, error)
            return
        finally:
            with self._changed:
                self._running = ()
        for job in finished:
            self._end(job)

    def _read(self, job: Job) -> list[Job]:
        """Read a slice of a prompt; return the job if it is done."""
        before, began = job.read, time.perf_counter()
        try:
            return [job] if job.read_on(self._slice()) else []
        finally:
            count, seconds = max(0, job.read - before), time.perf_counter() - began
            self._turns.read(job, count, seconds)
            if count >= UNIT:
                self._seconds_per_token = seconds / count

    def _write(self, jobs: list[Job]) -> list[Job]:
        """Write a token of each answer; return the jobs that are done."""
        began = time.perf_counter()
        try:
            if len(jobs) == 1:
                [job] = jobs
                return [job] if job.write(self._context.decode(job.stream, [job.token])) else []
            logits = self._context.decode_each([job.stream for job in jobs], [job.token for job in jobs])
            return [job for job, own in zip(jobs, logits, strict=True) if job.write(own)]
        finally:
            self._turns.wrote(jobs, time.perf_counter() - began)

    def _slice(self) -> int:
        """Choose how many tokens to read at once, so that whoever is here or comes need not wait long."""
        most = self._context.most_at_once if self._context.interrupt.native else UNIT
        seconds = SLICE_SECONDS_ALONE if self._alone() else SLICE_SECONDS
        tokens = max(UNIT, min(most, int(seconds / (self._seconds_per_token or A_TOKEN))))
        # Powers of two: 192 tokens took longer each than 128, by a tenth, and 512 a tenth less.
        return 1 << tokens.bit_length() - 1

    def _alone(self) -> bool:
        """Tell whether all are of one request, and nobody waits for the next word."""
        with self._changed:
            requests = {job.share for job in (*self._active.values(), *self._waiting)}
        return len(requests) == 1 and all(job.reading for job in self._active.values())

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
