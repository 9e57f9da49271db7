"""What plugins add to the application around an engine, without letting one harm the others.

A plugin that fails here is left out and named in the log, and the others go on. The start ends instead where
the config names the plugin in ``plugins.options``, and where the plugin stands in the way of requests: they
must not pass without what may be there to stop them.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from openkimi.contracts import Backend
from openkimi.errors import OpenKimiError, PluginError
from openkimi.held import hold
from openkimi.origin import Origin
from openkimi.owning import Owners
from openkimi.patience import START_SECONDS
from openkimi.plugins import Hook, PluginReport, in_one_line
from openkimi.watching import Watch

if TYPE_CHECKING:
    from openkimi.engine import KimiEngine

log = structlog.get_logger()

_IN_THE_WAY = frozenset({"register_middleware", "wrap_backend"})
_STOP_SECONDS = 10.0
_TELL_AUTHOR = "tell its author; --log-level debug shows the traceback, which may quote a text"


class PluginApp:
    """The :class:`openkimi.AppContext` of one plugin."""

    def __init__(self, name: str, options: Any, engine: KimiEngine, previous: PluginApp | None) -> None:
        self.name = name
        self.options = options
        self.engine = engine
        self.state: dict[str, Any] = {}
        self.previous = previous


class Extensions:
    """The hooks for the application of an engine's plugins; ``previous`` are those it takes the place of."""

    def __init__(self, engine: KimiEngine, previous: Extensions | None = None) -> None:
        self._engine = engine
        self._previous = previous
        self._told: set[str] = set()

    def hooks(self, name: str) -> Iterator[Hook]:
        """List a hook's implementations in the order of their plugins' names, without those that failed."""
        for hook in self._hooks:
            if hook.name == name and hook.report.state == "loaded":
                yield hook

    def call(self, hook: Hook, **given: object) -> Any:
        """Call a hook with its plugin's view of the application.

        Raises:
            Exception: whatever it raises.
        """
        return hook.call(app=self._app(hook.report.name), **given)

    def fail(self, hook: Hook, error: BaseException) -> None:
        """Leave a plugin out.

        Raises:
            PluginError: the gateway must not be without it.
        """
        report = hook.report
        report.fail(error, hook=hook.name)
        if report.name in self._engine.config.plugin_section.options or _IN_THE_WAY & set(report.hooks):
            raise PluginError(f"the plugin {report.name}: {report.reason}; {report.remedy}") from error
        self.tell(report)

    def tell(self, report: PluginReport) -> None:
        """Name in the log, once, a plugin that is left out."""
        if report.state == "failed" and report.name not in self._told:
            self._told.add(report.name)
            log.warning("plugin_failed", plugin=report.name, reason=report.reason, remedy=report.remedy)

    async def wrap(self, backend: Backend) -> Backend:
        """Put the plugins' own backends around one.

        Raises:
            PluginError: a plugin fails at it.
        """
        for hook in reversed(list(self.hooks("wrap_backend"))):
            try:
                returned = await asyncio.to_thread(self.call, hook, backend=backend)
                backend = _held(_backend(returned, backend), backend, hook.report)
            except Exception as error:  # noqa: BLE001 - what a stranger's hook raises is its own
                self.fail(hook, error)
        return backend

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold what the plugins keep open while an application serves.

        Raises:
            PluginError: a plugin fails that the gateway must not be without.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(Watch(self._owners))
            for hook in list(self.hooks("lifespan")):
                await self._enter(hook, stack)
            yield

    async def _enter(self, hook: Hook, stack: AsyncExitStack) -> None:
        try:
            manager = _manager(await asyncio.to_thread(self.call, hook))
            async with asyncio.timeout(START_SECONDS):
                await manager.__aenter__()
        except TimeoutError:
            self.fail(hook, PluginError(f"had not come to its yield after {START_SECONDS:g} s"))
        except Exception as error:  # noqa: BLE001 - see above
            self.fail(hook, error)
        else:
            stack.push_async_callback(_leave, hook.report, manager)

    def known(self, name: str) -> PluginApp | None:
        """Return a plugin's view of the application, if it has asked for it."""
        return self._apps.get(name)

    def settle(self) -> None:
        """Let go of what came before."""
        self._previous = None
        for app in self._apps.values():
            app.previous = None

    def blame(self, error: Exception) -> None:
        """Name the plugin whose code raised what nobody foresaw; what the error says may quote a text."""
        if isinstance(error, OpenKimiError):
            return
        frames = list(traceback.walk_tb(error.__traceback__))[::-1]
        what = f"raised {type(error).__name__} at a request,"
        self._owners.blame(frames, "plugin_raised", what, remedy=_TELL_AUTHOR)

    def _app(self, name: str) -> PluginApp:
        if name not in self._apps:
            options = self._engine.config.plugin_options.get(name)
            previous = self._previous.known(name) if self._previous else None
            self._apps[name] = PluginApp(name, options, self._engine, previous)
        return self._apps[name]

    @cached_property
    def _owners(self) -> Owners:
        return Owners(self._engine.config.plugins.reports)

    @cached_property
    def _apps(self) -> dict[str, PluginApp]:
        return {}

    @cached_property
    def _hooks(self) -> list[Hook]:
        return sorted(self._engine.config.plugins.app_hooks, key=lambda hook: hook.report.name)


async def _leave(report: PluginReport, manager: AbstractAsyncContextManager[Any]) -> None:
    """Leave a plugin's lifespan; the others end all the same should it fail."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await manager.__aexit__(None, None, None)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("plugin_failed_at_the_end", plugin=report.name, reason=in_one_line(error))


def _backend(returned: object, backend: Backend) -> Backend:
    if returned is None:
        return backend
    if not isinstance(returned, Backend):
        raise PluginError(f"must return an openkimi.Backend or None, not {type(returned).__name__}")
    return returned


def _held(wrapped: Backend, backend: Backend, report: PluginReport) -> Backend:
    if wrapped is backend:
        return backend
    place, name = "wrap_backend", report.name
    origin = Origin(place, "backend", name, wrapped, lambda: [report], instead=report.without)
    held: Backend = hold(wrapped, "backend", origin)
    return held


def _manager(returned: object) -> AbstractAsyncContextManager[Any]:
    if not isinstance(returned, AbstractAsyncContextManager):
        kind = type(returned).__name__
        raise PluginError(f"must return an async context manager, not {kind}: add @asynccontextmanager")
    return returned
