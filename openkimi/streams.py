"""Asynchronous iterators that are closed for sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

T = TypeVar("T")


def closing(iterator: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, Any]]:
    """Close an iterator at the end of an ``async with``, whether or not its type says it can be closed."""
    if hasattr(iterator, "aclose"):
        return aclosing(cast("AsyncGenerator[T, Any]", iterator))
    return aclosing(_generator(iterator))


async def _generator(iterator: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    async for item in iterator:
        yield item


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
