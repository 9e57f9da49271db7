"""Ends a task whose outcome nobody waits for any more."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any], because: asyncio.CancelledError | None = None) -> None:
    """Cancel a task and wait for its end.

    What it was in the middle of becomes the cause of the error that it ends ``because`` of: a traceback does
    not reach from one task into another.
    """
    task.cancel()
    await asyncio.wait([task])
    if because is None or not task.cancelled():
        return
    try:
        task.result()
    except asyncio.CancelledError as inside:
        because.__cause__ = inside if inside is not because else because.__cause__
