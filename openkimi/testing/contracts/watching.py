"""Watches what a component does to those beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress

_TICK = 0.01


@asynccontextmanager
async def flowing(longest: float) -> AsyncIterator[None]:
    """Fail when the event loop stands still for more than ``longest`` seconds meanwhile."""
    pauses = [0.0]
    ticking = asyncio.create_task(_tick(pauses))
    await asyncio.sleep(0)
    try:
        yield
        await asyncio.sleep(2 * _TICK)
    finally:
        ticking.cancel()
    stood = max(pauses)
    assert stood <= longest, (
        f"the event loop stood still for {stood:.1f} seconds: run what blocks in a thread "
        "(await asyncio.to_thread(...))"
    )


async def give_up(work: Awaitable[object], *, after: float, soon: float) -> None:
    """Start work, cancel it ``after`` some seconds, and fail unless it ends within ``soon`` seconds more.

    Work that is done before stays done. What a cancelled call raises must be the cancellation.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=after)
    if task.done():
        await task
        return
    task.cancel()
    await asyncio.wait([task], timeout=soon)
    assert task.done(), f"a cancelled call goes on for more than {soon} seconds"
    with suppress(asyncio.CancelledError):
        task.result()


async def _tick(pauses: list[float]) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(_TICK)
        pauses.append(time.monotonic() - before - _TICK)
