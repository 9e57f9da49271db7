"""Lets as many answers into the engine as it has slots, fairly between callers' requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Slots:
    """So many answers at a time; next is one of the request that holds the fewest slots, as they came."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._held = Counter[Hashable]()
        self._waiting: list[tuple[Hashable, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def slot(self, share: str | None) -> AsyncIterator[None]:
        """Hold a slot for an answer of a request; what has no name is a request of its own."""
        key: Hashable = object() if share is None else share
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (key, turn)
        self._waiting.append(waiting)
        self._admit()
        try:
            await turn
            yield
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self._release(key)

    def _admit(self) -> None:
        while self._free and self._waiting:
            waiting = min(self._waiting, key=lambda waiting: self._held[waiting[0]])
            self._waiting.remove(waiting)
            share, turn = waiting
            self._free -= 1
            self._held[share] += 1
            if not turn.done():
                turn.set_result(None)

    def _release(self, share: Hashable) -> None:
        self._free += 1
        self._held[share] -= 1
        self._held = +self._held
        self._admit()
