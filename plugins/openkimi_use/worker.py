"""One thread that takes the most urgent of the jobs waiting for it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from queue import PriorityQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Urgency(IntEnum):
    """What is waited for more eagerly comes first."""

    CLOSE = 0
    QUERY = 1
    FEW = 2
    DOCUMENT = 3


class Worker:
    """Runs jobs one at a time, the most urgent first and else in the order they came."""

    def __init__(self, name: str) -> None:
        self._jobs: PriorityQueue[tuple[Urgency, int, Future[Any], Callable[[], Any]]] = PriorityQueue()
        self._order = itertools.count()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, urgency: Urgency, job: Callable[[], T]) -> Future[T]:
        """Queue a job; a future that is cancelled before its turn costs nothing.

        Raises:
            RuntimeError: the worker is closed.
        """
        if self._closed.is_set():
            raise RuntimeError("the worker is closed")
        future: Future[T] = Future()
        self._jobs.put((urgency, next(self._order), future, job))
        return future

    def close(self) -> None:
        """Finish the job at hand, cancel those that wait and end the thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._jobs.put((Urgency.CLOSE, next(self._order), Future(), lambda: None))
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            _, _, future, job = self._jobs.get()
            if not self._closed.is_set() and future.set_running_or_notify_cancel():
                _settle(future, job)
            elif not future.cancelled():
                future.cancel()
        while not self._jobs.empty():
            self._jobs.get()[2].cancel()


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        result = job()
    except Exception as error:  # noqa: BLE001 - whoever waits for the future gets it
        future.set_exception(error)
    else:
        future.set_result(result)
