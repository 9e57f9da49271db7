"""The application that serves, in whose place another can step between two requests."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import structlog

from openkimi.api.app import Lifespan, app_of
from openkimi.api.gateway import Gateway
from openkimi.errors import BackendUnavailable, PluginError
from openkimi.own_task import OwnTask
from openkimi.plugins import in_one_line

log = structlog.get_logger()

CLOSE_SECONDS = 60.0
"""How long what serves nobody may take to close before it is left to itself; the next reload waits for it."""


class Generation:
    """A gateway's application: it starts, serves, and ends once nobody is served any more."""

    def __init__(self, gateway: Gateway, *, lifespan: Lifespan | None = None) -> None:
        self.gateway = gateway
        self._app = app_of(gateway, lifespan=lifespan)
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Open what the application holds open.

        Raises:
            Exception: whatever keeps it from starting; nothing of it is open then.
        """
        self._life = OwnTask(self._app.lifespan())
        try:
            await self._life.entered()
        except ExceptionGroup as group:
            raise _alone(group) from None
        except asyncio.CancelledError as error:
            await self._life.leave()
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise PluginError("what a component or a plugin's lifespan opens cancelled itself") from error

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        self._inside += 1
        self._idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
            if not self._inside:
                self._idle.set()

    async def drained(self) -> None:
        """Wait till nobody is served."""
        await self._idle.wait()

    async def end(self) -> None:
        """Close what the application held open."""
        await self._life.leave()

    async def give_up(self) -> None:
        """Close it as :meth:`end` does; what goes wrong at that, or hangs, is named in the log."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.end()
        except TimeoutError:
            log.warning("not_closed_cleanly", reason=f"it was not closed within {CLOSE_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - a stranger's component may raise anything
            log.warning("not_closed_cleanly", reason=in_one_line(_alone(error)))


class Serving:
    """An ASGI application: the current generation answers what begins, the ones before what they began.

    ``ended`` is called whenever one of them has answered the last of it and is closed.
    """

    def __init__(self, first: Generation, ended: Callable[[], None]) -> None:
        self.current = first
        self._ended = ended
        self._draining: dict[Generation, asyncio.Task[None]] = {}
        self._is_over = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or start and end with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.current.serve(scope, receive, send)

    def replace(self, successor: Generation) -> None:
        """Let another generation, which has started, answer from here on.

        Raises:
            BackendUnavailable: nobody answers any more.
        """
        if self._is_over:
            raise BackendUnavailable("the gateway is being stopped")
        before, self.current = self.current, successor
        self._draining[before] = asyncio.create_task(self._drain(before))

    def interrupt(self) -> None:
        """End every running request with an error that says so."""
        for generation in self._generations():
            generation.gateway.engine.interrupt()

    def _generations(self) -> Iterator[Generation]:
        yield self.current
        yield from self._draining

    async def _drain(self, generation: Generation) -> None:
        await generation.drained()
        await generation.give_up()
        del self._draining[generation]
        asyncio.get_running_loop().call_soon(self._ended)  # once this task no longer holds the generation

    async def _live(self, receive: Any, send: Any) -> None:
        """Speak the lifespan protocol of ASGI."""
        await receive()
        try:
            await self.current.start()
        except BaseException:
            await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._is_over = True
        try:
            await self._end()
        except BaseException:
            await send({"type": "lifespan.shutdown.failed", "message": traceback.format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _end(self) -> None:
        """Close all, the newest first, without waiting for those who are served."""
        draining = tuple(self._draining.values())
        for task in draining:
            task.cancel()
        await asyncio.gather(*draining, return_exceptions=True)
        async with AsyncExitStack() as stack:
            for generation in reversed(tuple(self._generations())):
                stack.push_async_callback(generation.end)


def _alone(error: Exception) -> Exception:
    """Take what a single lifespan raised out of the group that Litestar's task group makes of it."""
    if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        return error.exceptions[0]
    return error
