"""An async context manager that a task of its own enters and leaves, whoever asks for either."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any


class OwnTask:
    """Enters a context manager at once; it is left by :meth:`leave`, also before it was entered."""

    def __init__(self, manager: AbstractAsyncContextManager[Any]) -> None:
        self._entered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._release = asyncio.Event()
        self._task = asyncio.create_task(self._live(manager))

    async def wait(self, seconds: float) -> bool:
        """Wait for so many seconds at most, and tell whether it is entered or has failed at it."""
        return bool((await asyncio.wait([self._entered], timeout=seconds))[0])

    async def entered(self) -> Any:
        """Return what the context manager gives.

        Raises:
            Exception: whatever entering it raised.
        """
        return await asyncio.shield(self._entered)

    async def leave(self) -> None:
        """Leave it, or stop entering it.

        Raises:
            Exception: whatever leaving it raised.
        """
        if not self._entered.done():
            self._task.cancel()
        self._release.set()
        await asyncio.wait([self._task])
        if self._entered.done() and not self._entered.cancelled():
            self._entered.exception()
        if not self._task.cancelled():
            self._task.result()

    async def _live(self, manager: AbstractAsyncContextManager[Any]) -> None:
        entered = False
        try:
            async with manager as given:
                entered = True
                self._entered.set_result(given)
                await self._release.wait()
        except BaseException as error:
            if entered:
                raise
            if isinstance(error, asyncio.CancelledError):
                self._entered.cancel()
                raise
            self._entered.set_exception(error)
