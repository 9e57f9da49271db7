"""A plugin that misbehaves is named with a remedy, and the others go on."""

import asyncio
import gc
import sqlite3
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
import structlog

from openkimi import (
    BackendError,
    BackendWrapper,
    ConfigError,
    ContextSampler,
    Delta,
    GenerateRequest,
    Hit,
    KimiEngine,
    Message,
    PluginError,
    Provider,
    Query,
    Synthesizer,
    hookimpl,
)
from openkimi.api.errors import failure_of
from openkimi.assembly import CONTRACTS
from openkimi.components import Components
from openkimi.config import build_config
from openkimi.degrading import blame
from openkimi.errors import OpeningError
from openkimi.held import hold
from openkimi.holding import Holder
from openkimi.origin import Origin
from openkimi.owning import Owners
from openkimi.patience import within
from openkimi.plugins import PluginReport, load_plugins
from openkimi.providers import ROLES, Role
from openkimi.testing import HashingEmbedder, InMemoryRetriever, cut
from openkimi.watching import Watch
from openkimi_scripted import ScriptedBackend


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path for modules of a test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("made_", "openkimi_made_"))]:
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


OFFERING = """
from contextlib import nullcontext
from openkimi import Provider, hookimpl

def opened(options, context):
    return nullcontext()

@hookimpl
def register_retrievers():
    return [Provider("made", opened)]
"""


def test_two_plugins_of_one_name_are_told_apart_by_their_modules(module: Path) -> None:
    """Whoever fails, clashes or offers something is named so that one can be left out and not the other."""
    modules = ["made_notes", "openkimi_made_notes"]
    for name in modules:
        (module / f"{name}.py").write_text(OFFERING)
    found, without = load_plugins(load=modules), load_plugins(load=modules, block=modules[:1])
    (module / "made_other.py").write_text("1 / 0")
    (module / "openkimi_made_other.py").write_text("1 / 0")
    others = load_plugins(load=["made_other", "openkimi_made_other"]).reports[-2:]

    with pytest.raises(PluginError, match="offered by the plugins made_notes and openkimi_made_notes; name"):
        found.provider("retriever", "made")
    report = without.report_of("retriever", without.provider("retriever", "made"))
    assert (report and report.module, found.reports[-1].name) == (modules[1], "made_notes")
    assert [f'{{"block": ["{report.module}"]}}' in str(report.remedy) for report in others] == [True, True]


def test_what_a_function_raises_in_its_thread_is_raised_here() -> None:
    """The patience costs nothing of an error."""
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0, what="a division")

    assert within(5, lambda: 7, what="a number") == 7


def test_a_module_that_is_being_imported_is_taken_as_it_is(module: Path, impatient: None) -> None:
    """A program may name itself in plugins.load while it makes its engine: nobody waits for anybody."""
    code = (
        "from openkimi.plugins import PluginReport, load_plugins\nfound = load_plugins(load=['made_itself'])"
    )
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


async def away() -> Any:
    raise OSError("the disk is away")


class Away(InMemoryRetriever):
    """Cannot tell what is outdated."""

    async def outdated(self, fingerprint: str) -> Any:
        await away()


class Unfinished(InMemoryRetriever):
    """Lacks a method of its contract."""

    @abstractmethod
    def rank(self) -> None: ...


async def unfinished() -> Any:
    return Unfinished()  # type: ignore[abstract]


async def opened_away() -> Any:
    return Away()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (
            away,
            "retriever 'ours' of the plugin ours could not be opened: OSError: the disk is away, at test_",
        ),
        (
            unfinished,
            "could not be opened: TypeError: Can't instantiate abstract class Unfinished.*, at test_",
        ),
        (
            opened_away,
            "Away.outdated of the retriever 'ours' of the plugin ours failed at the start: OSError:",
        ),
    ],
)
async def test_what_fails_while_an_engine_opens_is_named(held: Any, what: Any, told: str) -> None:
    """Kind, plugin, error and line; it is no fault of the config, and a caller does not see what it says."""
    plugin = held()
    engine = KimiEngine(plugins=[plugin, opening("retriever", what)])
    engine._overrides |= {**plugin.config, "rag": {"type": "ours"}}

    with pytest.raises(OpeningError, match=rf"^rag.type: .*{told}.*\d$") as caught:
        await engine.open()
    assert not isinstance(caught.value, ConfigError)
    assert "disk" not in failure_of(caught.value).detail.message
    assert plugin.opened == []


class Otherwise(InMemoryRetriever):
    """Has methods of another kind than its contract, and one that is written otherwise and as good."""

    def get(self, document_id: str, **options: Any) -> Any:
        return None

    async def list(self, **options: Any) -> Any:
        yield "some document"

    def text(self, document_id: str, **options: Any) -> Any:
        return asyncio.get_running_loop().create_task(asyncio.sleep(0, document_id))


class Asking(Synthesizer):
    """Would be taken to say yes."""

    async def synthesize(self, *given: Any) -> Any: ...

    async def settled(self, *given: Any) -> Any: ...  # type: ignore[override]


async def test_a_method_that_is_not_async_as_its_contract_says_is_named() -> None:
    """What it gives tells, not how it is written: whatever can be awaited will do."""
    origin = Origin("rag.type", "retriever", "ours", Otherwise(), list)
    retriever = hold(Otherwise(), "retriever", origin)
    asking = hold(Asking(), "synthesizer", Origin("mpr.synthesis", "synthesizer", "ours", Asking(), list))

    assert await retriever.text("doc") == "doc"
    with pytest.raises(
        PluginError, match=r"Otherwise.get must be an async def, not a function that returns N"
    ):
        await retriever.get("doc")
    with pytest.raises(PluginError, match=r"Otherwise.list must be an async def, not one that yields;"):
        await retriever.list()
    with pytest.raises(PluginError, match=r"Asking.settled must be a plain def, not an async def;"):
        asking.settled("?", [], 1)


@pytest.mark.parametrize(
    ("order", "given"),
    [
        ((0, 1, 2), None),
        ((0, 1, 2, 3), "4 where 3 were asked for"),
        ((1, 0, 2), "a better one behind another"),
        ((0, 1, 1), "one passage twice"),
    ],
)
async def test_hits_that_are_not_as_asked_for_are_put_in_order_and_noted(
    order: tuple[int, ...], given: str | None
) -> None:
    """The answer goes on with the best of them, each once."""
    _, chunks = cut("\n\n".join("ABCD"))
    every = [Hit(document_id="doc", chunk=chunk, score=-chunk.ordinal) for chunk in chunks]

    class Untidy(InMemoryRetriever):
        async def search(self, query: Query) -> Any:
            return [every[at] for at in order]

    retriever = hold(Untidy(), "retriever", Origin("rag.type", "retriever", "ours", Untidy(), list))
    with structlog.testing.capture_logs() as logged:
        hits = await retriever.search(Query(text="A", document_ids=("doc",), limit=3))

    assert list(hits) == every[: len(set(order[:3]))]
    assert [given in entry["what"] for entry in logged] == ([True] if given else [])


async def test_memory_that_is_short_is_no_plugins_fault(held: Any) -> None:
    """What ends a process is raised as it is."""

    async def too_much() -> Any:
        raise MemoryError

    plugin = held()
    engine = KimiEngine(plugins=[plugin, opening("retriever", too_much)])
    engine._overrides |= {**plugin.config, "rag": {"type": "ours"}}

    with pytest.raises(MemoryError):
        await engine.open()


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
import sqlite3
from contextlib import asynccontextmanager
from openkimi import Delta, Provider, hookimpl
from openkimi_scripted import ScriptedBackend

class Raising(ScriptedBackend):
    async def generate(self, request):
        yield Delta(content="half")
        raise sqlite3.OperationalError("a secret of the caller")

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
            with pytest.raises(sqlite3.OperationalError):
                await engine.chat("Hello?")
    report = next(report for report in engine.config.plugins.reports if report.name == "made_raising")

    [named] = [entry for entry in logged if entry["event"] == "plugin_raised"]
    assert (named["plugin"], named["at"].endswith("made_raising.py:10")) == ("made_raising", True)
    assert named["what"] == "raised sqlite3.OperationalError at a request"
    assert (report.state, report.reason) == ("loaded", f"{named['what']}, at {named['at']}")
    assert "secret" not in f"{logged}{report}"


async def test_a_plugin_without_a_module_that_raises_at_a_request_is_named(held: Any) -> None:
    """Its component tells whose it is."""

    class Raising(InMemoryRetriever):
        async def list(self, **options: Any) -> Any:
            raise ValueError("a secret of the caller")

    plugin = held()
    plugin.retriever = Raising()
    engine = KimiEngine(plugins=[plugin])
    engine._overrides |= plugin.config

    async with engine:
        with pytest.raises(ValueError, match="secret"):
            await engine.documents()
    report = next(report for report in engine.config.plugins.reports if report.name == "Held")

    assert "Raising.list raised ValueError at a request, at " in (report.reason or "")
    assert "secret" not in str(report)


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


@pytest.mark.parametrize("spoil", ["close", "cancel"])
async def test_an_answer_that_was_not_let_end_lacks_nothing(held: Any, spoil: str) -> None:
    """Whoever reads on after it was closed or cancelled finds no more, which is not the backend's fault."""
    plugin, report = held(delay=30), PluginReport(name="ours", module="ours")
    origin = Origin("llm.type", "backend", "ours", plugin.backend, lambda: [report])
    asked = GenerateRequest(messages=(Message(role="user", content="Hello?"),), max_tokens=9)
    answer = hold(plugin.backend, "backend", origin).generate(asked)

    if spoil == "close":
        await answer.aclose()
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(answer), 0.01)
    with pytest.raises(StopAsyncIteration):
        await anext(answer)
    await answer.aclose()

    assert report.reason is None


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
    is_one = isinstance(backend, ScriptedBackend)
    plugin.backend._options = SimpleNamespace(context_length=-1)
    plugin.backend.what_no_contract_has = 7

    with structlog.testing.capture_logs() as logged, pytest.raises(BackendError):
        _ = backend.context_window
    reports = [next(r for r in c.plugins.reports if r.name == "Held") for c in (before, after)]

    assert all(one is backend for one in again)
    assert (is_one, backend.what_no_contract_has) == (True, 7)
    assert ["must be a number of tokens, not -1" in str(report.reason) for report in reports] == [True, True]
    assert [entry["event"] for entry in logged] == ["contract_broken"]


def test_an_error_that_was_told_is_let_go_of(held: Any) -> None:
    """Its traceback holds what a request had in hand, which is not to stay as long as the component does."""
    origin = Origin("here", "sampler", "ours", object(), list)

    def broken() -> Any:
        class Text(str):
            """A text that can be watched."""

        text = Text("a secret of the caller")
        try:
            raise origin.broke("sample", "return a list", "None")
        except PluginError as error:
            origin.raised("sample", error)
        return ref(text)

    with structlog.testing.capture_logs() as logged:
        text = broken()
    gc.collect()

    assert text() is None
    assert len(logged) == 1


async def test_what_the_model_raises_is_not_the_synthesizers(held: Any) -> None:
    """A component that asks another one, which fails, is not blamed for that."""

    class Failing(BackendWrapper):
        async def generate(self, request: Any) -> AsyncIterator[Delta]:
            raise ValueError("a secret of the caller")
            yield

    class Asking(Synthesizer):
        async def synthesize(self, question: str, candidates: Any, generate: Any) -> Any:
            return [delta async for delta in generate(())]

    model, asking = (PluginReport(name=name, module=name) for name in ("model", "asking"))
    failing = Failing(held().backend)
    backend = hold(failing, "backend", Origin("llm.type", "backend", "model", failing, lambda: [model]))
    origin = Origin("mpr.synthesis", "synthesizer", "asking", Asking(), lambda: [asking])
    synthesizer = hold(Asking(), "synthesizer", origin)

    with pytest.raises(ValueError, match="secret") as raised:
        await synthesizer.synthesize("?", (), backend.generate)
    said = blame(synthesizer, "synthesize", raised.value)

    assert said.endswith("Failing.generate raised ValueError")
    assert asking.reason is None
    assert "Failing.generate raised ValueError at a request" in (model.reason or "")


def test_a_plugin_that_failed_keeps_its_reason() -> None:
    """What its component, which is still in use, does wrong later is the lesser matter."""
    report = PluginReport(name="ours", module="ours")
    report.fail(RuntimeError("no luck"), hook="lifespan")

    with structlog.testing.capture_logs() as logged:
        Origin("here", "embedder", "ours", object(), lambda: [report]).lacked("embed", "be quick")

    assert (report.reason, len(logged)) == ("lifespan: RuntimeError: no luck", 1)


def test_a_component_of_two_roles_is_held_to_the_contract_of_each(held: Any) -> None:
    """One object may do the work of two, which does not make it known once and for both."""

    class Both(HashingEmbedder, ContextSampler):
        def sample(self, hits: Any, n: int, *, seed: int) -> Any:
            return None

    config, both, holder = build_config({}), Both(), Holder()
    embedder = holder.hold(both, "embedder", config.embedder.provider, "embedder.type")
    sampler = holder.hold(both, "sampler", config.sampler.provider, "mpr.sampling")

    assert embedder.dimensions == both.dimensions
    with pytest.raises(PluginError, match=r"^mpr.sampling: .*Both.sample must return a list of 2 orders"):
        sampler.sample([], 2, seed=0)


@pytest.mark.parametrize("at_once", [0, "4", 1.5])
async def test_a_number_of_requests_at_once_that_is_none_ends_the_start(held: Any, at_once: Any) -> None:
    """It is named before a request would meet it."""
    plugin = held()
    plugin.backend.concurrency = at_once
    engine = KimiEngine(plugins=[plugin], llm_config={"type": "held"})

    with pytest.raises(
        BackendError, match="ScriptedBackend.concurrency must be a number of requests or None"
    ):
        await engine.open()


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
