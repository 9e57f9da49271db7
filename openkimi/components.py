"""Opens components once, however many ask for them, and closes each when the last one lets go."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import msgspec
import structlog

from openkimi.contracts import Embedder
from openkimi.errors import PluginError
from openkimi.holding import Holder
from openkimi.own_task import OwnTask
from openkimi.providers import Provider, Role

T = TypeVar("T")

log = structlog.get_logger()

STILL_SECONDS = 60.0
"""How often the log says that something is still being opened; a large model may take its time."""


class Context:
    """The :class:`openkimi.OpenContext` that a component is opened with."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder

    @property
    def embedder(self) -> Embedder:
        """The configured embedder."""
        if self._embedder is None:
            raise PluginError(
                "there is no embedder here: backends and embedders are opened before there is one"
            )
        return self._embedder


class _Handle:
    """One open component, and how many hold it."""

    def __init__(self, manager: AbstractAsyncContextManager[Any]) -> None:
        self.holders = 0
        self._own = OwnTask(manager)

    async def component(self, role: Role, provider: Provider[Any]) -> Any:
        began = time.monotonic()
        while not await self._own.wait(STILL_SECONDS):
            seconds = round(time.monotonic() - began)
            log.warning(
                "still_opening", role=role, kind=provider.kind, module=provider.module, seconds=seconds
            )
        return await self._own.entered()

    async def close(self) -> None:
        await self._own.leave()


class Components:
    """The open components of one application, or of several in turn, by role, kind and options.

    ``holder`` holds them to their contracts.
    """

    def __init__(self) -> None:
        self.holder = Holder()
        self._handles: list[tuple[tuple[object, ...], _Handle]] = []

    @asynccontextmanager
    async def use(
        self, role: Role, provider: Provider[T], options: msgspec.Struct, embedder: Embedder | None = None
    ) -> AsyncIterator[T]:
        """Hold a component open: the first holder opens it, the last one closes it.

        Plugins make a new provider each time they are asked: its kind and its module tell which it is. What
        another event loop held open died with it.

        Raises:
            Exception: whatever opening it raised, to each of those who wait for it.
        """
        loop = asyncio.get_running_loop()
        key = (role, provider.kind, provider.module, options, id(embedder), loop)
        handle = next((handle for known, handle in self._handles if known == key), None)
        if handle is None:
            handle = _Handle(_manager(role, provider, options, embedder))
            self._handles.append((key, handle))
        handle.holders += 1
        try:
            yield await handle.component(role, provider)
        finally:
            handle.holders -= 1
            if not handle.holders:
                self._handles.remove((key, handle))
                await handle.close()


def _manager(
    role: Role, provider: Provider[T], options: msgspec.Struct, embedder: Embedder | None
) -> AbstractAsyncContextManager[T]:
    """Make the context manager that opens a component.

    Raises:
        PluginError: ``open`` returns something else.
    """
    made: object = provider.open(options, Context(embedder))
    if isinstance(made, AbstractAsyncContextManager):
        return made
    if inspect.iscoroutine(made):
        made.close()
    raise PluginError(
        f"{role} '{provider.kind}': open() of the plugin module {provider.module} returns "
        f"{type(made).__name__}, no async context manager: write it with @asynccontextmanager and yield"
    )
