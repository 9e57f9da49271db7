"""Serving while the model loads: those who ask are told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from litestar import Litestar

from openkimi.api.auth import Connection
from openkimi.engine import KimiEngine
from openkimi.errors import BackendUnavailable

WHILE_LOADING = {"openkimi_while_loading": True}
"""The ``opt`` of a route that answers also before the model is there."""
_STATE = "openkimi_loading"
_RETRY_AFTER = 2.0


def refuse_while_loading(connection: Connection) -> None:
    """Refuse a request that came before the model is there.

    Raises:
        BackendUnavailable: the model is being loaded.
    """
    if connection.app.state.get(_STATE) and not _answers_meanwhile(connection):
        raise BackendUnavailable("the model is being loaded", retry_after=_RETRY_AFTER)


def _answers_meanwhile(connection: Connection) -> bool:
    return any(connection.scope["route_handler"].opt.get(name) for name in WHILE_LOADING)


def loading(
    engine: KimiEngine, loaded: Callable[[BaseException | None], None]
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Make a lifespan that opens the engine beside the first requests and closes it at the end.

    ``loaded`` is called once it is open, or with what went wrong.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async def load() -> None:
            try:
                await engine.open()
            except Exception as error:  # noqa: BLE001 - handed to whom it concerns
                loaded(error)
                return
            app.state[_STATE] = False
            loaded(None)

        app.state[_STATE] = True
        task = asyncio.create_task(load())
        try:
            async with engine.extensions.running():
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await engine.close()

    return lifespan
