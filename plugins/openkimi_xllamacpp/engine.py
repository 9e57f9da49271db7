"""Keeps an engine running: one that died is started again for the next request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from openkimi import BackendUnavailable, ConfigError
from openkimi_xllamacpp.process import EngineFailed, EngineProcess, Folder, explained
from openkimi_xllamacpp.settings import Settings

_SECONDS_TO_DIE = 1.0

_log = structlog.get_logger("openkimi_xllamacpp")


class Engine:
    """The engine behind a socket; made by :func:`open_engine`."""

    def __init__(self, settings: Settings, folder: Folder) -> None:
        self.socket = folder.socket
        self.closed = False
        self._doubted = False
        self._settings = settings
        self._process = EngineProcess()
        self._starting = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """Whether the engine runs."""
        return self._process.alive

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU works for it."""
        return self._process.on_gpu

    async def start(self) -> None:
        """Start the engine for the first time.

        Raises:
            EngineFailed: it did not come up.
        """
        await asyncio.to_thread(self._process.start, self._settings)

    def doubt(self) -> None:
        """Say that a connection broke: an engine that dies takes a moment to be gone."""
        self._doubted = True

    async def ensure(self) -> None:
        """See to it that the engine runs, and start it again if it died.

        Raises:
            BackendUnavailable: it was closed, or does not come up any more.
        """
        async with self._starting:
            if self.closed:
                raise BackendUnavailable("the model is closed")
            if self._doubted:
                await asyncio.to_thread(self._process.wait, _SECONDS_TO_DIE)
                self._doubted = False
            if self._process.alive:
                return
            _log.warning("engine_died", model=self._settings.model)
            await asyncio.to_thread(self._process.end)
            self.socket.unlink(missing_ok=True)
            self._process = EngineProcess()
            try:
                await self.start()
            except EngineFailed as error:
                raise BackendUnavailable(explained(error, self._settings)) from error

    async def close(self) -> None:
        """End the engine, whatever it does."""
        self.closed = True
        await asyncio.to_thread(self._process.end)


@asynccontextmanager
async def open_engine(settings: Settings, folder: Folder) -> AsyncIterator[Engine]:
    """Start an engine, and end it in the end.

    Raises:
        ConfigError: the model, the device or the memory is not as the options want it.
    """
    engine = Engine(settings, folder)
    try:
        await engine.start()
        yield engine
    except EngineFailed as error:
        raise ConfigError(explained(error, settings)) from error
    finally:
        await engine.close()
