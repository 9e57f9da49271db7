"""Reads the config anew while the gateway serves.

What is new is built and checked beside what serves, and takes its place between two requests. Where that
fails, nothing changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from openkimi.api.config_watch import ConfigWatch
from openkimi.api.gateway import Gateway
from openkimi.api.generations import Generation, Serving
from openkimi.api.hangup import on_hangup
from openkimi.api.tls import tls_context
from openkimi.control import Described, Reloaded, listening
from openkimi.effective import changed
from openkimi.engine import KimiEngine
from openkimi.errors import OpenKimiError, PluginError
from openkimi.plugins import in_one_line
from openkimi.sections import ServerSection

log = structlog.get_logger()

_STOP_SECONDS = 2.0


class Reloader:
    """Puts another generation in the place of the one that serves.

    ``heed`` is told of the section ``server`` that holds from here on, and raises what keeps it from that.
    """

    def __init__(self, serving: Serving, heed: Callable[[ServerSection], None]) -> None:
        self._serving = serving
        self._heed = heed
        self._started = self.server()
        self._turn = asyncio.Lock()
        self._loaded = asyncio.Event()

    def server(self) -> ServerSection:
        """Return the section ``server`` that holds."""
        return self._serving.current.gateway.engine.config.server

    @property
    def is_busy(self) -> bool:
        """Whether a reload is under way."""
        return self._turn.locked()

    def ready(self) -> None:
        """Note that the first generation has loaded: none takes its place before."""
        self._loaded.set()

    async def reload(self) -> Reloaded:
        """Read the config anew and let it hold, once whatever is loading has loaded.

        Raises:
            OpenKimiError: the config does not load; everything is as it was.
        """
        async with self._turn:
            await self._loaded.wait()
            try:
                reloaded = await self._replace()
            except OpenKimiError as error:
                _tell_failure(error.message)
                raise
            except Exception as error:
                log.debug("failed_because", exc_info=error)
                _tell_failure(in_one_line(error))
                raise
        log.info("reloaded", changed=reloaded.changed)
        if reloaded.at_restart:
            remedy = "the gateway takes its address once, at the start: restart it for these"
            log.warning("not_reloaded", options=reloaded.at_restart, remedy=remedy)
        return reloaded

    async def _replace(self) -> Reloaded:
        before = self._serving.current.gateway
        engine = before.engine.successor()
        after = await asyncio.to_thread(_build, engine)
        await after.start()
        try:
            _refuse_losses(before.engine, engine)
            differ = tuple(changed(before.engine.config, engine.config))
            self._heed(engine.config.server)
            self._serving.replace(after)
        except BaseException:
            await after.give_up()
            raise
        engine.take_over(before.engine)
        after.gateway.limits.take_over(before.limits)
        reports = engine.config.plugins.reports
        failed = {report.name: str(report.reason) for report in reports if report.state == "failed"}
        return Reloaded(changed=differ, at_restart=self._at_restart(engine), failed=failed)

    def _at_restart(self, engine: KimiEngine) -> tuple[str, ...]:
        """Name what only a start heeds, where it is no longer what it was then."""
        then, now = self._started, engine.config.server
        differs = {
            "server.host": then.host != now.host,
            "server.port": then.port != now.port,
            "server.tls": (then.tls is None) != (now.tls is None),
        }
        return tuple(option for option, does in differs.items() if does)


@asynccontextmanager
async def reloading(reloader: Reloader, described: Described) -> AsyncIterator[None]:
    """Reload whenever the gateway is told to: by SIGHUP, by ``openkimi reload``, by a file that changes."""
    waiting: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        with suppress(Exception):  # the log has it
            await reloader.reload()

    def begin() -> None:
        if len(waiting) < 2:  # one that runs, and one that will see what comes while it does
            task = asyncio.create_task(reload())
            waiting.add(task)
            task.add_done_callback(waiting.discard)

    on_hangup(begin)
    watch = asyncio.create_task(ConfigWatch(described.config, reloader.server, reload).run())
    try:
        async with listening(described, reloader.reload):
            yield
    finally:
        tasks = (watch, *waiting)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_STOP_SECONDS)


def _build(engine: KimiEngine) -> Generation:
    """Check the config and make its application."""
    if (tls := engine.config.server.tls) is not None:
        tls_context(tls)
    return Generation(Gateway(engine), lifespan=engine.lifespan)


def _refuse_losses(before: KimiEngine, after: KimiEngine) -> None:
    """Refuse what would be without a plugin that is in use.

    Raises:
        PluginError: names the plugin, and why it cannot go on.
    """
    found = {report.module: report for report in after.config.plugins.reports}
    block = after.config.plugin_section.block
    for report in before.config.plugins.reports:
        if report.state != "loaded":
            continue
        what = f"the plugin {report.name}, which is in use"
        now = found.get(report.module)
        if now is not None and now.state == "failed":
            raise PluginError(f"{what}: {now.reason}; {now.remedy}")
        if now is None and report.distribution and not {report.name, report.module} & {*block}:
            remedy = f'install it again, or leave it out: "plugins": {{"block": ["{report.name}"]}}'
            raise PluginError(f"{what}: {report.distribution} is no longer installed; {remedy}")


def _tell_failure(reason: str) -> None:
    remedy = "the gateway goes on with the config that it has; mend the new one and reload again"
    log.error("reload_failed", reason=reason, remedy=remedy)
