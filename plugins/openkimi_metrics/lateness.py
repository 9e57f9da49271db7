"""Measures how late the event loop is: what blocks it holds up every request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from openkimi_metrics.metrics import Metrics

_EVERY_SECONDS = 0.5
_KEPT = 20


@asynccontextmanager
async def watching(metrics: Metrics) -> AsyncIterator[None]:
    """Measure inside of an ``async with``."""
    task = asyncio.create_task(_measure(metrics))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _measure(metrics: Metrics) -> None:
    loop, late = asyncio.get_running_loop(), deque([0.0], maxlen=_KEPT)
    metrics.lateness.set_function(lambda: max(late))
    while True:
        wanted = loop.time() + _EVERY_SECONDS
        await asyncio.sleep(_EVERY_SECONDS)
        late.append(max(0.0, loop.time() - wanted))
