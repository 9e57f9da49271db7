"""Asynchronous iterators that are closed for sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


def closing(iterator: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, Any]]:
    """Close an iterator at the end of an ``async with``, whether or not its type says it can be closed."""
    if hasattr(iterator, "aclose"):
        return aclosing(cast("AsyncGenerator[T, Any]", iterator))
    return aclosing(_generator(iterator))


async def _generator(iterator: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    async for item in iterator:
        yield item


class Pump(Generic[T]):
    """Drives an iterator in a task of its own, so that its consumer can wait for a limited time.

    ``ahead`` items at most are made before they are asked for. The iterator is driven inside of ``within``,
    entered and left in that task; what leaving it raises ends the items.
    """

    def __init__(
        self,
        iterator: AsyncIterator[T],
        *,
        ahead: int = 64,
        within: AbstractAsyncContextManager[Any] | None = None,
    ) -> None:
        self._within = within or nullcontext()
        self._ready: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue(maxsize=ahead)
        self._end: BaseException | None = None
        self._task = asyncio.create_task(self._drain(iterator))

    async def next(self, wait: float | None = None) -> T | None:
        """Return the next item, None when ``wait`` seconds pass without one.

        Raises:
            StopAsyncIteration: there are no more.
            Exception: what the iterator raised.
        """
        if self._end is not None:
            raise self._end
        try:
            async with asyncio.timeout(wait):
                item, error = await self._ready.get()
        except TimeoutError:
            return None
        if error is not None:
            self._end = error
            raise error
        return item

    async def aclose(self) -> None:
        """Stop the iterator and wait until it has let go of what it held."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _drain(self, iterator: AsyncIterator[T]) -> None:
        end: BaseException = StopAsyncIteration()
        try:
            async with self._within, closing(iterator) as items:
                async for item in items:
                    await self._ready.put((item, None))
        except Exception as error:  # noqa: BLE001 - handed to the consumer
            end = error
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            await self._ready.put((None, end))


async def merge(iterators: Sequence[AsyncIterator[T]]) -> AsyncGenerator[T, None]:
    """Yield from several iterators as their items come, and close all of them at the end.

    Raises:
        Exception: what the first iterator to fail raised; the others are closed.
    """
    ready: asyncio.Queue[T | BaseException | None] = asyncio.Queue(maxsize=64)

    async def drain(iterator: AsyncIterator[T]) -> None:
        try:
            async with closing(iterator) as items:
                async for item in items:
                    await ready.put(item)
            await ready.put(None)
        except Exception as error:  # noqa: BLE001 - handed to the consumer
            await ready.put(error)

    tasks = [asyncio.create_task(drain(iterator)) for iterator in iterators]
    try:
        running = len(tasks)
        while running:
            item = await ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
