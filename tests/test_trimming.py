"""Trimming: a gateway that runs for weeks gives memory back, and says when it cannot."""

import asyncio
import ctypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from openkimi import ConfigError, KimiEngine
from openkimi.api.app import create_app
from openkimi.process_memory import _as_ps_tells, give_back, resident_memory
from openkimi.testing import serving
from openkimi.trimming import LONGEST_PAUSE, PATIENCE, PAUSE, Trimming

MB = 10**6


class Process:
    """The memory of a process, of which a trim frees ``spare`` bytes, and its clock."""

    def __init__(self, engine: KimiEngine, backend: Any) -> None:
        self.engine = engine
        self.now, self.resident, self.spare, self.trims = 1000.0, 90 * MB, 0, 0
        self.trimming = Trimming(engine, resident=lambda: self.resident, clock=lambda: self.now)
        backend.trim = self.trim

    async def trim(self) -> None:
        self.trims += 1
        self.resident -= self.spare

    async def look(self, *, after: float = 0.0) -> list[Any]:
        """Let it look once, and return what it logs."""
        self.now += after
        with capture_logs() as logged:
            await self.trimming.look()
        return [entry for entry in logged if entry["log_level"] != "debug"]


@pytest.fixture
def process(held: Any) -> Any:
    """Open an engine in a process: ``async with process(memory_ceiling="100MB") as it``."""

    @asynccontextmanager
    async def start(**server: Any) -> AsyncIterator[Process]:
        plugin = held()
        engine = KimiEngine(
            plugins=[plugin],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
        )
        engine._overrides["server"] = server
        it = Process(engine, plugin.backend)
        assert not await it.look()
        async with engine:
            await it.look()
            yield it

    return start


async def test_what_is_above_the_ceiling_is_trimmed(process: Any) -> None:
    """Below the ceiling nothing happens; above it caches go at once, and the log says how much came back."""
    async with process(memory_ceiling="100MB") as it:
        assert not await it.look()
        it.resident, it.spare = 150 * MB, 60 * MB
        [trimmed] = await it.look()
        assert not await it.look(after=PAUSE)

        assert (trimmed["event"], trimmed["reason"]) == ("trimmed", "memory_ceiling")
        assert (trimmed["megabytes"], trimmed["given_back"]) == (90, 60)
        assert (it.trims, it.engine.statistics.trims) == (1, 1)


async def test_a_ceiling_that_is_too_low_is_warned_of_once(process: Any) -> None:
    """Where trimming is in vain it is done less and less often, and one line says what to do."""
    async with process(memory_ceiling="80MB") as it:
        logged = [await it.look(after=10.0) for _ in range(int(LONGEST_PAUSE / 5))]
        warnings = [entry for entries in logged for entry in entries if entry["log_level"] == "warning"]

        assert 5 < it.trims < 12
        assert [entry["event"] for entry in warnings] == ["memory_ceiling_exceeded"]
        assert "server.memory_ceiling" in warnings[0]["remedy"]
        it.resident = 70 * MB
        assert not await it.look()
        it.resident = 90 * MB
        assert [entry["event"] for entry in await it.look()] == ["trimmed"]


async def test_a_schedule_trims_after_work_only(process: Any) -> None:
    """When the interval is over it trims if anything was done meanwhile, and counts anew from there."""
    async with process(trim_interval=60) as it:
        await it.look(after=100)
        assert it.trims == 0
        await it.engine.chat("Hello?")
        [trimmed] = await it.look()
        assert trimmed["reason"] == "trim_interval"
        await it.engine.chat("Hello?")
        await it.look(after=50)
        assert it.trims == 1
        await it.look(after=20)
        assert it.trims == 2


async def test_a_schedule_waits_for_a_quiet_moment_and_not_for_ever(process: Any) -> None:
    """A trim that is due lets running requests end; where there is always one it comes all the same."""
    async with process(trim_interval=60) as it:
        await it.engine.chat("Hello?")
        assert it.engine._opened is not None
        with it.engine._opened.admission:
            await it.look(after=60)
            assert it.trims == 0
            await it.look(after=PATIENCE)
            assert it.trims == 1
        await it.engine.chat("Hello?")
        await it.look(after=60)
        assert it.trims == 2


async def test_without_options_nothing_is_trimmed(process: Any) -> None:
    """Both are off by default."""
    async with process() as it:
        await it.engine.chat("Hello?")
        await it.look(after=10**6)

        assert it.trims == 0


async def test_an_application_trims_while_it_runs(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """create_app looks every few seconds, from its start to its end."""
    monkeypatch.setattr("openkimi.trimming._LOOK_EVERY", 0.001)
    async with process(memory_ceiling=1) as it:
        trimmed = asyncio.Event()

        async def trim() -> None:
            trimmed.set()

        it.engine._opened.backend.trim = trim
        async with serving(create_app(it.engine)), asyncio.timeout(20):
            await trimmed.wait()


async def test_one_part_that_fails_at_it_does_not_stop_the_others(held: Any) -> None:
    """The log names the module and what kind of error it was, not what that says; the others trim."""
    plugin, trimmed = held(), []

    async def fail() -> None:
        raise ValueError("a secret text")

    async def trim() -> None:
        trimmed.append("retriever")

    plugin.backend.trim, plugin.retriever.trim = fail, trim
    engine = KimiEngine(plugins=[plugin], llm_config={"type": "held"}, rag_config={"type": "held"})
    async with engine:
        with capture_logs() as logged:
            await engine.trim()

    told = [entry for entry in logged if entry["log_level"] != "debug"]
    assert [(entry["event"], entry["module"]) for entry in told] == [("not_trimmed", "openkimi_scripted")]
    assert "secret" not in f"{told}"
    assert trimmed == ["retriever"]


async def test_one_part_that_cancels_itself_does_not_stop_the_others(held: Any) -> None:
    """What it waits for may be cancelled, and its caller, which is to trim again, is not; else it is."""
    plugin, asked = held(), asyncio.Event()

    async def cancel() -> None:
        raise asyncio.CancelledError

    async def wait() -> None:
        asked.set()
        await asyncio.Event().wait()

    plugin.backend.trim = cancel
    engine = KimiEngine(plugins=[plugin], llm_config={"type": "held"})
    async with engine:
        await engine.trim()
        plugin.backend.trim = wait
        trimming = asyncio.create_task(engine.trim())
        await asked.wait()
        trimming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trimming

    assert engine.statistics.trims == 1


async def test_an_engine_that_is_not_open_has_nothing_to_trim(held: Any) -> None:
    """Trimming loads no model."""
    plugin = held()
    engine = KimiEngine(plugins=[plugin], llm_config={"type": "held"})

    await engine.trim()

    assert not plugin.opened


@pytest.mark.parametrize("server", [{"memory_ceiling": "much"}, {"trim_interval": 0}])
def test_a_value_that_cannot_be_is_named(server: dict[str, Any]) -> None:
    """A ceiling that is no size, and an interval of no time, are refused before anything is loaded."""
    engine = KimiEngine(llm_config={"type": "dummy"})
    engine._overrides["server"] = server

    with pytest.raises(ConfigError, match=f"server.{next(iter(server))}"):
        _ = engine.config


def test_freed_memory_goes_back_to_the_system() -> None:
    """What the C library keeps for later, because something above it is in use, is given back."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library gives memory back by itself")
    blocks = [bytes(2_000) for _ in range(50_000)]
    pinned = blocks[-1]
    del blocks
    before = resident_memory()

    give_back()

    after = resident_memory()
    assert before is not None
    assert after is not None
    assert before - after > 50 * MB
    assert len(pinned) == 2_000


def test_other_systems_are_asked_by_ps() -> None:
    """Where /proc does not tell the memory of a process, ps tells the same."""
    known, told = resident_memory(), _as_ps_tells()

    assert known is not None
    if told is not None:
        assert told == pytest.approx(known, rel=0.3)
