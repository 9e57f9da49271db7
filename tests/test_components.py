"""Components: opened once, closed by the last who lets go, each in a task of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from openkimi import NoOptions, OpenContext, PluginError, Provider
from openkimi.components import Components


class Log:
    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.tasks: list[object] = []
        self.error = error
        self.provider: Provider[str] = Provider("it", self.open)

    @asynccontextmanager
    async def open(self, options: NoOptions, context: OpenContext) -> AsyncIterator[str]:
        self.events.append("open")
        self.tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        yield "component"
        self.events.append("close")
        self.tasks.append(asyncio.current_task())


async def test_two_holders_share_one_component() -> None:
    """The same kind with equal options is opened once and closed after its last holder."""
    log, components = Log(), Components()

    async with components.use("backend", log.provider, NoOptions()) as one:
        async with components.use("backend", log.provider, NoOptions()) as two:
            assert one is two
        assert log.events == ["open"]

    assert log.events == ["open", "close"]


async def test_a_component_is_opened_and_closed_in_one_task_of_its_own() -> None:
    """Whoever holds it, the context manager is entered and left by the same task."""
    log, components = Log(), Components()

    async with components.use("backend", log.provider, NoOptions()):
        pass

    assert log.tasks[0] is log.tasks[1]
    assert log.tasks[0] is not asyncio.current_task()


def test_what_another_event_loop_held_open_is_opened_anew() -> None:
    """A loop that is not run again closes nothing, and what is open in it is of no use to another."""
    log, components = Log(), Components()
    loops = [asyncio.new_event_loop() for _ in range(2)]
    held = [components.use("backend", log.provider, NoOptions()) for _ in loops]

    for loop, use in zip(loops, held, strict=True):
        loop.run_until_complete(asyncio.wait_for(use.__aenter__(), 5))
    events = list(log.events)
    for loop, use in zip(loops, held, strict=True):
        loop.run_until_complete(use.__aexit__(None, None, None))
        loop.close()

    assert events == ["open", "open"]


async def test_an_error_while_opening_reaches_everyone_who_waits() -> None:
    """All holders get what opening raised, and the next one tries again."""
    log, components = Log(ValueError("broken")), Components()

    async def hold() -> None:
        async with components.use("backend", log.provider, NoOptions()):
            pass

    results = await asyncio.gather(hold(), hold(), return_exceptions=True)
    log.error = None
    await hold()

    assert [str(result) for result in results] == ["broken", "broken"]
    assert log.events == ["open", "open", "close"]


async def test_cancelling_the_last_who_waits_stops_the_opening() -> None:
    """A component nobody waits for any more is not opened."""
    started = asyncio.Event()
    ended: list[str] = []

    @asynccontextmanager
    async def open_slowly(options: NoOptions, context: OpenContext) -> AsyncIterator[str]:
        started.set()
        try:
            await asyncio.sleep(60)
            yield "never"
        finally:
            ended.append("cancelled")

    components = Components()

    async def hold() -> None:
        async with components.use("backend", Provider("slow", open_slowly), NoOptions()):
            pass

    task = asyncio.create_task(hold())
    await started.wait()
    task.cancel()
    await asyncio.wait([task])

    assert ended == ["cancelled"]
    assert task.cancelled()


async def test_a_backend_cannot_ask_for_the_embedder() -> None:
    """Backends and embedders are opened before there is an embedder."""

    @asynccontextmanager
    async def open_greedy(options: NoOptions, context: OpenContext) -> AsyncIterator[object]:
        yield context.embedder

    with pytest.raises(PluginError, match="before there is one"):
        async with Components().use("backend", Provider("greedy", open_greedy), NoOptions()):
            pass


async def test_what_opens_with_no_context_manager_is_named() -> None:
    """A forgotten ``@asynccontextmanager`` is told with the kind, the module and the remedy."""

    async def forgotten(options: NoOptions, context: OpenContext) -> str:
        return "component"

    provider: Provider[str] = Provider("it", forgotten)  # type: ignore[arg-type]

    with pytest.raises(PluginError, match=r"backend 'it': open\(\).*test_components.*@asynccontextmanager"):
        async with Components().use("backend", provider, NoOptions()):
            pass
