"""A plugin that misbehaves is named with a remedy, and the others go on."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from openkimi import BackendError, BackendWrapper, Delta, KimiEngine, PluginError, Provider, hookimpl
from openkimi.assembly import CONTRACTS
from openkimi.components import Components
from openkimi.config import build_config
from openkimi.held import hold
from openkimi.holding import Holder
from openkimi.origin import Origin
from openkimi.owning import Owners
from openkimi.patience import within
from openkimi.plugins import load_plugins
from openkimi.providers import ROLES, Role
from openkimi.watching import Watch


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path for modules of a test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("made_")]:
        del sys.modules[name]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a plugin for a moment only."""
    monkeypatch.setattr("openkimi.plugins.START_SECONDS", 0.3)


def opening(role: str, what: Any) -> Any:
    """Offer the kind ``ours``, whose ``open`` does what it is told and yields what comes of it."""

    @asynccontextmanager
    async def opened(options: object, context: object) -> AsyncIterator[Any]:
        yield await what()

    def register() -> Any:
        return [Provider("ours", opened)]

    return SimpleNamespace(__name__="ours", **{f"register_{role}s": hookimpl(register)})


def test_an_import_that_hangs_is_given_up(module: Path, impatient: None) -> None:
    """It is named, and the plugins after it load."""
    (module / "made_hanging.py").write_text("import time\ntime.sleep(2)")
    (module / "made_good.py").write_text("import openkimi")

    found = load_plugins(load=["made_hanging", "made_good"])

    hanging, good = found.reports[-2:]
    assert (hanging.state, good.state) == ("failed", "loaded")
    assert "the import of made_hanging had not come to an end after 0.3 s" in (hanging.reason or "")
    assert hanging.remedy == 'mend that, or leave the plugin out: "plugins": {"block": ["made_hanging"]}'
    assert found.provider("backend", "dummy")


@pytest.mark.parametrize("lazy", [False, True])
def test_a_hook_that_hangs_is_given_up(impatient: None, lazy: bool) -> None:
    """Also one that is written with yield."""
    ended = threading.Event()

    def at_once() -> list[Any]:
        ended.wait(10)
        return []

    def step_by_step() -> Iterator[Any]:
        ended.wait(10)
        yield from ()

    hook = hookimpl(step_by_step if lazy else at_once)
    found = load_plugins(plugins=[SimpleNamespace(__name__="ours", register_backends=hook)])
    ended.set()

    assert "the hook 'register_backends' of the plugin ours had not come" in (found.reports[-1].reason or "")


def test_what_a_function_raises_in_its_thread_is_raised_here() -> None:
    """The patience costs nothing of an error."""
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0, what="a division")

    assert within(5, lambda: 7, what="a number") == 7


def test_a_module_that_is_being_imported_is_taken_as_it_is(module: Path, impatient: None) -> None:
    """A program may name itself in plugins.load while it makes its engine: nobody waits for anybody."""
    code = "from openkimi.plugins import load_plugins\nfound = load_plugins(load=['made_itself'])"
    (module / "made_itself.py").write_text(code)

    import made_itself  # type: ignore[import-not-found]

    assert made_itself.found.reports[-1].state == "loaded"


@pytest.mark.parametrize(
    ("role", "section", "contract"),
    [
        ("backend", "llm", "Backend"),
        ("embedder", "embedder", "Embedder"),
        ("processor", "processor", "Processor"),
        ("retriever", "rag", "Retriever"),
    ],
)
async def test_what_is_opened_must_be_what_was_promised(
    held: Any, role: str, section: str, contract: str
) -> None:
    """A component of the wrong type is named before the first request, and what was opened is closed."""

    async def nothing() -> str:
        return "something else"

    plugin = held()
    engine = KimiEngine(plugins=[plugin, opening(role, nothing)])
    engine._overrides |= {**plugin.config, section: {"type": "ours"}}

    with pytest.raises(PluginError, match=rf"{section}.type: .* opened str .*no openkimi.{contract}:"):
        await engine.open()
    assert plugin.opened == []


async def test_an_opening_that_takes_long_is_named(monkeypatch: pytest.MonkeyPatch, held: Any) -> None:
    """A large model may take its time; the log says who is waited for."""
    monkeypatch.setattr("openkimi.components.STILL_SECONDS", 0.1)
    plugin = held()

    async def slowly() -> Any:
        await asyncio.sleep(0.35)
        return plugin.backend

    config = build_config({"llm": {"type": "ours"}}, plugins=[opening("backend", slowly)])
    chosen = config.backend
    with structlog.testing.capture_logs() as logged:
        async with Components().use(chosen.role, chosen.provider, chosen.options) as backend:
            assert backend is plugin.backend

    waited = [entry for entry in logged if entry["event"] == "still_opening"]
    assert len(waited) >= 2
    assert (waited[0]["kind"], waited[0]["role"]) == ("ours", "backend")


async def test_a_plugin_that_blocks_the_event_loop_is_named(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log and the list say where, and what to do; what blocks without a plugin's code is nobody's."""
    monkeypatch.setattr("openkimi.watching.BLOCKED_SECONDS", 0.2)
    (module / "made_blocking.py").write_text("import time\ndef block():\n    time.sleep(1.5)\n")
    found = load_plugins(load=["made_blocking"])
    report = found.reports[-1]

    import made_blocking  # type: ignore[import-not-found]

    with structlog.testing.capture_logs() as logged, Watch(Owners(found.reports)):
        await asyncio.sleep(0.1)
        time.sleep(1.0)  # noqa: ASYNC251 - it is the point
        assert not [entry for entry in logged if entry["event"] == "event_loop_blocked"]
        await asyncio.sleep(0.6)
        made_blocking.block()
        await asyncio.sleep(0.1)

    [named] = [entry for entry in logged if entry["event"] == "event_loop_blocked"]
    assert (named["plugin"], named["at"].endswith("made_blocking.py:3")) == ("made_blocking", True)
    assert report.state == "loaded"
    assert "blocked the event loop" in (report.reason or "")
    assert "asyncio.to_thread" in (report.remedy or "")


def test_what_the_core_raises_is_no_plugins() -> None:
    """The plugin of the test kit stands in the core's package, and is not named for the core's code."""
    owners = Owners(load_plugins(load=["openkimi.testing.fakes"]).reports)
    frame = SimpleNamespace(f_globals={"__name__": "openkimi.generation"})

    assert not owners.blame([(frame, 1)], "plugin_raised", "raised", remedy="")  # type: ignore[list-item]


RAISING = """
from contextlib import asynccontextmanager
from openkimi import Delta, Provider, hookimpl
from openkimi_scripted import ScriptedBackend

class Raising(ScriptedBackend):
    async def generate(self, request):
        yield Delta(content="half")
        {}["a secret of the caller"]

@asynccontextmanager
async def opened(options, context):
    yield Raising()

@hookimpl
def register_backends():
    return [Provider("raising", opened)]
"""


async def test_a_plugin_that_raises_at_a_request_is_named(module: Path, held: Any) -> None:
    """The log and the list have the plugin, the kind of error and the line, and nothing that it says."""
    (module / "made_raising.py").write_text(RAISING)
    engine = KimiEngine(plugins=[held()])
    engine._overrides |= {**held.config, "llm": {"type": "raising"}, "plugins": {"load": ["made_raising"]}}

    with structlog.testing.capture_logs() as logged:
        async with engine:
            with pytest.raises(KeyError):
                await engine.chat("Hello?")
    report = next(report for report in engine.config.plugins.reports if report.name == "made_raising")

    [named] = [entry for entry in logged if entry["event"] == "plugin_raised"]
    assert (named["plugin"], named["at"].endswith("made_raising.py:9")) == ("made_raising", True)
    assert (report.state, "raised KeyError at a request" in (report.reason or "")) == ("loaded", True)
    assert "secret" not in f"{logged}{report}"


async def test_a_backend_around_the_model_is_held_to_the_contract_too(held: Any) -> None:
    """The plugin that put it there is named, and not the one whose model it is."""

    class Uncounted(BackendWrapper):
        async def count_tokens(self, texts: Any) -> Any:
            return len(texts)

    def wrap(backend: Any) -> Any:
        return Uncounted(backend)

    wrapping = SimpleNamespace(__name__="wrapping", wrap_backend=hookimpl(wrap))
    plugin = held()
    engine = KimiEngine(plugins=[plugin, wrapping])
    engine._overrides |= plugin.config

    async with engine:
        with pytest.raises(BackendError, match=r"^wrap_backend: the backend 'wrapping' .*Uncounted.count_"):
            await engine.count_tokens(["one"])
    reports = {report.name: report for report in engine.config.plugins.reports}

    assert "a list of 1 whole numbers, not int" in (reports["wrapping"].reason or "")
    assert '"block": ["wrapping"]' in (reports["wrapping"].remedy or "")
    assert reports["Held"].reason is None


async def test_an_answer_without_a_finish_reason_is_noted_and_goes_on(held: Any) -> None:
    """What can be made up for is no failure."""

    class Endless(BackendWrapper):
        async def generate(self, request: Any) -> AsyncIterator[Delta]:
            yield Delta(content="half")

    plugin = held()
    plugin.backend = Endless(plugin.backend)
    engine = KimiEngine(plugins=[plugin])
    engine._overrides |= plugin.config

    async with engine:
        assert await engine.chat("Hello?") == "half"
    report = next(report for report in engine.config.plugins.reports if report.name == "Held")

    assert "Endless.generate must end with a Delta that has a finish_reason" in (report.reason or "")


def test_a_component_is_held_once_and_noted_wherever_its_plugin_is_listed(held: Any) -> None:
    """What is opened for it finds it again after a reload, which makes lists and providers of its own."""
    plugin, holder = held(), Holder()
    before, after = (build_config(plugin.config, plugins=[plugin]) for _ in range(2))
    for config in (before, after):
        holder.serve(config.plugins)
    backend, *again = (
        holder.hold(plugin.backend, "backend", config.backend.provider, "llm.type")
        for config in (before, before, after)
    )
    plugin.backend._options = SimpleNamespace(context_length=-1)
    plugin.backend.what_no_contract_has = 7

    with structlog.testing.capture_logs() as logged, pytest.raises(BackendError):
        _ = backend.context_window
    reports = [next(r for r in c.plugins.reports if r.name == "Held") for c in (before, after)]

    assert all(one is backend for one in again)
    assert backend.what_no_contract_has == 7
    assert ["must be a number of tokens, not -1" in str(report.reason) for report in reports] == [True, True]
    assert [entry["event"] for entry in logged] == ["contract_broken"]


@pytest.mark.parametrize("role", ROLES)
def test_a_held_component_has_no_member_of_its_contract_from_the_contract_itself(role: Role) -> None:
    """A default of the contract would hide what the component has in its place."""
    contract = CONTRACTS[role]
    made = type("Ours", (contract,), dict.fromkeys(contract.__abstractmethods__, 7))()
    held = hold(made, role, Origin("here", role, "ours", made, list))
    members = {name for name in vars(contract) if not name.startswith("_")}

    hidden = {
        name
        for name in members
        if name not in vars(held) and getattr(type(held), name) is getattr(contract, name)
    }
    assert members
    assert not hidden
