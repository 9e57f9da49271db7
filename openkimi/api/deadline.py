"""A limit to how long a request may take, its wait for the model included."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from openkimi.errors import BackendTimeout, BackendUnavailable


class Deadline:
    """Ends the work inside an ``async with`` after some seconds (None: never).

    Set :attr:`began` once there is something of an answer: a request that was still waiting can be sent
    again, one that was being answered would take as long again.

    Raises:
        BackendUnavailable: nothing had come by then.
        BackendTimeout: the answer had begun.
    """

    def __init__(self, seconds: float | None) -> None:
        self.began = False
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            limit = f"within {self._seconds:g} s, the limit set by server.request_timeout"
            if self.began:
                raise BackendTimeout(f"the answer was not complete {limit}") from late
            raise BackendUnavailable(f"the model did not begin to answer {limit}; try again later") from late
