"""A limit to how long a request may take, its wait for the model included."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from openkimi.errors import BackendTimeout, BackendUnavailable
from openkimi.held import waited_for


class Interruption:
    """Lets what happens elsewhere end the work inside a block, for a third of what asyncio.timeout costs."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._happened = False

    def happen(self) -> None:
        """Cancel the work."""
        self._happened = True
        self._task.cancel()

    def ended(self, kind: type[BaseException] | None) -> bool:
        """Tell whether it is what ended the work, which left its block with an exception of that kind."""
        if not self._happened:
            return False
        return self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError


class TimeLimit:
    """Ends the work inside a ``with`` after some seconds.

    Raises:
        TimeoutError: it was not done by then.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._late = Interruption()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._late.happen)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._late.ended(kind):
            raise TimeoutError from error


class Deadline:
    """Ends the work inside a ``with`` after some seconds (None: never).

    Set :attr:`began` once there is something of an answer: a request that was still waiting can be sent
    again, one that was being answered would take as long again.

    Raises:
        BackendUnavailable: nothing had come by then.
        BackendTimeout: the answer had begun.
    """

    def __init__(self, seconds: float | None) -> None:
        self.began = False
        self._seconds = seconds
        self._limit = None if seconds is None else TimeLimit(seconds)

    def __enter__(self) -> Self:
        if self._limit is not None:
            self._limit.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._limit is None:
            return
        try:
            self._limit.__exit__(kind, error, trace)
        except TimeoutError as late:
            limit = f"within {self._seconds:g} s, the limit set by server.request_timeout"
            waited = _waited_for(late)
            if self.began:
                raise BackendTimeout(f"the answer was not complete {limit}{waited}") from late
            who = "no answer had begun" if waited else "the model did not begin to answer"
            raise BackendUnavailable(f"{who} {limit}{waited}; try again later") from late


def _waited_for(late: TimeoutError) -> str:
    """Name the component, other than the model, that the work waited for at its end, and note it there."""
    found = None if late.__cause__ is None else waited_for(late.__cause__)
    if found is None or found[0].role == "backend":
        return ""
    origin, method = found
    return f": it was waiting for {origin.late(method)}"
