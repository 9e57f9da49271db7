"""Reload: another config takes its place between two requests, and one that does not load changes nothing."""

import asyncio
import importlib
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from litestar import get
from structlog.testing import capture_logs

from openkimi import BackendUnavailable, ConfigError, KimiEngine, PluginError, Provider, hookimpl
from openkimi.api.gateway import Gateway
from openkimi.api.generations import Generation, Serving
from openkimi.api.protocol import Protocol
from openkimi.api.reloading import Reloader
from openkimi.testing import fakes, serving
from openkimi_scripted import ScriptedBackend, ScriptedOptions

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


class Counted:
    """A plugin with the backend ``counted``, which is scripted and notes when one opens and closes.

    Its routes, its lifespan and what its hooks see of a reload are noted, too.
    """

    __name__ = "counted"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.previous: list[Any] = []
        self.apps: list[Any] = []
        self.fails: BaseException | None = None

    @hookimpl
    def register_backends(self) -> list[Provider[Any]]:
        @asynccontextmanager
        async def opened(options: ScriptedOptions, context: object) -> AsyncIterator[Any]:
            self.log.append(f"open {options.reply}")
            yield ScriptedBackend(options)
            self.log.append(f"close {options.reply}")

        return [Provider("counted", opened, ScriptedOptions)]

    @hookimpl
    def register_routes(self, app: Any) -> list[Any]:
        self.apps.append(app)
        self.previous.append(app.previous)
        number = len(self.apps)

        @get("/number")
        async def tell_number() -> int:
            return number

        return [tell_number]

    @hookimpl
    def lifespan(self, app: Any) -> Any:
        return self._live(self.apps.index(app) + 1)

    @asynccontextmanager
    async def _live(self, number: int) -> AsyncIterator[None]:
        if self.fails is not None:
            raise self.fails
        self.log.append(f"enter {number}")
        yield
        self.log.append(f"leave {number}")


class Running:
    """A gateway that reads its config anew."""

    def __init__(self, path: Path, plugin: Counted, main: Serving, http: aiohttp.ClientSession) -> None:
        self.path, self.plugin, self.http, self.serving = path, plugin, http, main
        self.reloader = Reloader(main, heed=lambda server: None)
        self.reloader.ready()

    @property
    def engine(self) -> KimiEngine:
        return self.serving.current.gateway.engine

    async def reload(self, **sections: Any) -> Any:
        """Write another config, and read it."""
        write(self.path, **sections)
        return await self.reloader.reload()

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        async with self.http.post(path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(path) as response:
            return response.status, await response.json()

    async def answer(self) -> str:
        _, body = await self.post("/v1/chat/completions", HELLO)
        return str(body["choices"][0]["message"]["content"])

    async def settled(self) -> None:
        """Wait till what was replaced has ended."""
        async with asyncio.timeout(10):
            while self.serving._draining:
                await asyncio.sleep(0.01)


def write(path: Path, **sections: Any) -> None:
    default = {
        "llm": {"type": "counted", "reply": "One."},
        "embedder": {"type": "hashing"},
        "rag": {"type": "in-memory"},
    }
    path.write_text(json.dumps({**default, **sections}))


@pytest.fixture
def running(tmp_path: Path) -> Any:
    """Make a running gateway: ``async with running(llm={...}) as gateway``."""

    @asynccontextmanager
    async def start(**sections: Any) -> AsyncIterator[Running]:
        path, plugin = tmp_path / "config.json", Counted()
        write(path, **sections)
        engine = KimiEngine(path, plugins=[fakes, plugin])
        main = Serving(Generation(Gateway(engine), lifespan=engine.lifespan), ended=lambda: None)
        async with serving(main, http=Protocol, ws="none") as url, aiohttp.ClientSession(url) as http:
            yield Running(path, plugin, main, http)

    return start


async def test_what_did_not_change_is_not_loaded_again(running: Any) -> None:
    """The same model answers on, and the options that changed are named."""
    async with running() as gateway:
        reloaded = await gateway.reload(mpr_candidates=2, server={"request_timeout": 60})
        await gateway.settled()

        assert await gateway.answer() == "One."
        assert [each for each in gateway.plugin.log if "One." in each] == ["open One."]
        assert reloaded.changed == ("mpr_candidates", "server.request_timeout")


async def test_another_model_takes_the_place_of_the_first(running: Any) -> None:
    """It is opened beside it, answers from then on, and the first is closed."""
    async with running() as gateway:
        before = await gateway.answer()
        await gateway.reload(llm={"type": "counted", "reply": "Two."})
        after = await gateway.answer()
        await gateway.settled()

        assert (before, after) == ("One.", "Two.")
        models = [each for each in gateway.plugin.log if each.endswith(".")]
        assert models == ["open One.", "open Two.", "close One."]


async def test_an_answer_that_was_begun_is_finished_as_it_began(running: Any) -> None:
    """The old model stays open for it, and its lifespans, however many reloads come meanwhile."""
    slow = {"type": "counted", "reply": "word " * 20, "token_delay": 0.05}
    async with running(llm=slow) as gateway:
        async with gateway.http.post("/v1/chat/completions", json={**HELLO, "stream": True}) as response:
            await response.content.readuntil(b"word")
            await gateway.reload(llm={"type": "counted", "reply": "Two."})
            await gateway.reload(llm={"type": "counted", "reply": "Three."})
            meanwhile, still = await gateway.answer(), list(gateway.plugin.log)
            rest = await response.text()
        await gateway.settled()

        assert meanwhile == "Three."
        assert f"close {slow['reply']}" not in still
        assert "leave 1" not in still
        assert rest.count("word") == 19
        assert rest.endswith("data: [DONE]\n\n")
        assert {f"close {slow['reply']}", "leave 1", "close Two.", "leave 2"} <= set(gateway.plugin.log)


BROKEN = {
    "no JSON": None,
    "a wrong option": {"llm": {"type": "counted", "reply": 3}},
    "an unknown kind": {"llm": {"type": "nobodys"}},
    "a missing certificate": {"server": {"tls": {"certificate": "no.pem", "key": "no.pem"}}},
    "a file that cannot be preloaded": {"preload": ["no-such-file.txt"]},
}


@pytest.mark.parametrize("sections", BROKEN.values(), ids=BROKEN.keys())
async def test_a_config_that_does_not_load_changes_nothing(running: Any, sections: Any) -> None:
    """It says why, what it had opened is closed, and the next good one loads."""
    async with running() as gateway:
        config = gateway.engine.config
        if sections is None:
            gateway.path.write_text("{")
        else:
            write(gateway.path, **sections)
        with pytest.raises(Exception, match=r"not valid JSON|reply|nobodys|certificate|no-such-file"):
            await gateway.reloader.reload()

        assert gateway.engine.config is config
        assert await gateway.answer() == "One."
        assert [each for each in gateway.plugin.log if "One." in each] == ["open One."]
        await gateway.reload(llm={"type": "counted", "reply": "Two."})
        assert await gateway.answer() == "Two."


async def test_a_model_that_does_not_open_changes_nothing(running: Any) -> None:
    """What was opened for the new config is closed again, the old stays."""

    def register() -> list[Provider[Any]]:
        @asynccontextmanager
        async def opened(options: object, context: object) -> AsyncIterator[Any]:
            raise ConfigError("llm.model_path: too large")
            yield

        return [Provider("broken", opened)]

    async with running() as gateway:
        gateway.engine._plugins += (SimpleNamespace(__name__="broken", register_backends=hookimpl(register)),)
        with pytest.raises(ConfigError, match="too large"):
            await gateway.reload(llm={"type": "broken"})

        assert await gateway.answer() == "One."
        assert gateway.plugin.log == ["open One.", "enter 1"]


@pytest.mark.parametrize("closing", ["raises", "hangs"])
async def test_why_a_config_is_refused_is_told_also_when_it_cannot_be_closed(
    running: Any, monkeypatch: pytest.MonkeyPatch, closing: str
) -> None:
    """What goes wrong at closing what was opened for it is in the log, and the next reload works."""

    @asynccontextmanager
    async def opened(options: object, context: object) -> AsyncIterator[Any]:
        yield ScriptedBackend(ScriptedOptions())
        if closing == "hangs":
            await asyncio.sleep(3600)
        raise OSError("cannot be closed")

    broken = SimpleNamespace(
        __name__="broken", register_backends=hookimpl(lambda: [Provider("unclosable", opened)])
    )
    monkeypatch.setattr("openkimi.api.generations.CLOSE_SECONDS", 0.1)
    async with running() as gateway:
        gateway.engine._plugins += (broken,)
        gateway.plugin.fails = ValueError("broken")
        with pytest.raises(PluginError, match="ValueError: broken"), capture_logs() as logs:
            await gateway.reload(llm={"type": "unclosable"})
        gateway.plugin.fails = None
        await gateway.reload(llm={"type": "counted", "reply": "Two."})

        assert await gateway.answer() == "Two."
    [told] = [each["reason"] for each in logs if each["event"] == "not_closed_cleanly"]
    assert told == ("OSError: cannot be closed" if closing == "raises" else "it was not closed within 0.1 s")


async def test_plugins_are_asked_anew_and_see_what_was_before(running: Any) -> None:
    """Routes are made anew; ``previous`` is there while the reload goes on, and not after it."""
    async with running() as gateway:
        await gateway.reload(mpr_candidates=2)
        await gateway.settled()
        number = await gateway.get("/plugins/counted/number")

        first, second = gateway.plugin.apps
        assert number == (200, 2)
        assert gateway.plugin.previous == [None, first]
        assert second.previous is None
        assert second.engine is gateway.engine is not first.engine
        assert gateway.plugin.log == ["open One.", "enter 1", "enter 2", "leave 1"]


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin that docs/plugins.md shows for what should outlive a reload."""
    page = (Path(__file__).parents[2] / "docs/plugins.md").read_text("utf-8")
    [snippet] = re.findall(r"^```python\n(# counting\.py\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "counting.py").write_text(snippet, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("counting")
    del sys.modules["counting"]


async def test_the_counts_that_the_docs_keep_go_on(running: Any, counting: Any) -> None:
    """What the documented plugin takes from ``previous`` outlives reloads."""
    async with running(plugins={"load": ["counting"]}) as gateway:
        told = [await gateway.get("/plugins/counting")]
        for candidates in (2, 3):
            await gateway.reload(plugins={"load": ["counting"]}, mpr_candidates=candidates)
            told.append(await gateway.get("/plugins/counting"))

    assert told == [(200, 1), (200, 2), (200, 3)]


async def test_a_plugin_that_had_failed_is_there_after_a_reload(
    running: Any, counting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ``previous`` is that of an application without it, in which there is nothing; it begins anew."""
    calls = counting.Calls
    monkeypatch.setattr(counting, "Calls", None)
    async with running(plugins={"load": ["counting"]}) as gateway:
        failed = await gateway.get("/plugins/counting")
        monkeypatch.setattr(counting, "Calls", calls)
        await gateway.reload(plugins={"load": ["counting"]})
        mended = await gateway.get("/plugins/counting")

    assert failed[0] == 404
    assert mended == (200, 1)


async def test_a_plugin_in_use_is_not_lost_by_a_reload(running: Any) -> None:
    """One whose lifespan fails this time keeps the old config in place; one that is new is left out."""

    def broken(app: Any) -> None:
        raise ValueError("broken")

    newcomer = SimpleNamespace(__name__="newcomer", lifespan=hookimpl(broken))
    async with running() as gateway:
        gateway.plugin.fails = ValueError("broken")
        with pytest.raises(
            PluginError, match="the plugin counted, which is in use: lifespan: ValueError: broken"
        ):
            await gateway.reload(mpr_candidates=2)
        unchanged = await gateway.get("/plugins/counted/number")
        gateway.plugin.fails = asyncio.CancelledError()
        with pytest.raises(PluginError, match="cancelled itself"):
            await gateway.reload(mpr_candidates=2)
        gateway.plugin.fails = None
        gateway.engine._plugins += (newcomer,)
        await gateway.reload(mpr_candidates=2)
        changed = await gateway.get("/plugins/counted/number")

        states = {report.name: report.state for report in gateway.engine.config.plugins.reports}
        assert unchanged == (200, 1)
        assert changed == (200, 4)
        assert (states["counted"], states["newcomer"]) == ("loaded", "failed")


async def test_a_plugin_that_is_being_upgraded_is_not_lost_by_a_reload(
    running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its package is away, the old config stays; one that is blocked may go."""
    package = tmp_path / "site" / "guarding-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: guarding\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[openkimi]\nguarding = guarding_for_reload\n")
    (package.parent / "guarding_for_reload.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    async with running() as gateway:
        shutil.rmtree(package)
        with pytest.raises(PluginError, match="guarding, which is in use: guarding is no longer installed"):
            await gateway.reload(mpr_candidates=2)
        reloaded = await gateway.reload(plugins={"block": ["guarding"]})

    assert reloaded.changed == ("plugins.block",)


async def test_keys_and_limits_hold_from_the_next_request_on(running: Any) -> None:
    """A key that was taken out is refused, and what a caller has used up stays used up."""
    keys = [{"name": name, "key": f"sk-{name}-0123456789abcdef"} for name in ("ann", "bob")]
    limit = {"requests_per_minute": 2}
    ann, bob = ({"Authorization": f"Bearer {each['key']}"} for each in keys)
    async with running(server={"api_keys": keys, "rate_limit": limit}) as gateway:
        before = [(await gateway.post("/v1/chat/completions", HELLO, **ann))[0] for _ in range(2)]
        await gateway.reload(server={"api_keys": keys[:1], "rate_limit": limit})
        await gateway.settled()
        used_up, _ = await gateway.post("/v1/chat/completions", HELLO, **ann)
        unknown, _ = await gateway.post("/v1/chat/completions", HELLO, **bob)

    assert before == [200, 200]
    assert (used_up, unknown) == (429, 401)


async def test_a_key_file_that_goes_wrong_after_a_reload_locks_nobody_out(
    running: Any, tmp_path: Path
) -> None:
    """Its keys stay good, though nobody has shown one since."""
    keys = tmp_path / "keys.json"
    keys.write_text('[{"name": "ann", "key": "sk-ann-0123456789abcdef"}]')
    server = {"api_keys_file": str(keys)}
    async with running(server=server) as gateway:
        await gateway.reload(server=server, mpr_candidates=2)
        keys.write_text("{")
        ann = {"Authorization": "Bearer sk-ann-0123456789abcdef"}
        status, _ = await gateway.post("/v1/chat/completions", HELLO, **ann)

    assert status == 200


async def test_documents_stay(running: Any, tmp_path: Path) -> None:
    """What was stored or ingested stays; what is preloaded goes by the new config."""
    (tmp_path / "old.txt").write_text("The old warden was called Ambrose.")
    (tmp_path / "new.txt").write_text("The new warden is called Cordelia.")
    async with running(preload=[str(tmp_path / "old.txt")]) as gateway:
        _, stored = await gateway.post("/v1/documents", {"text": "The clock is made of brass."})
        ingested = await gateway.engine.ingest("The bell is made of tin.")
        await gateway.reload(preload=[str(tmp_path / "new.txt")])
        await gateway.settled()

        _, listed = await gateway.get("/v1/documents")
        asked = {
            "messages": [{"role": "user", "content": "What is the warden called? And the bell made of?"}]
        }
        _, explained = await gateway.post("/v1/openkimi/explain", asked)

    assert {stored["id"], ingested} <= {each["id"] for each in listed["data"]}
    texts = json.dumps(explained)
    assert "Cordelia" in texts
    assert "tin" in texts
    assert "Ambrose" not in texts


async def test_counts_go_on(running: Any) -> None:
    """What an engine has done is counted over reloads, and these themselves, failed ones included."""
    async with running() as gateway:
        await gateway.answer()
        await gateway.engine.ingest("The bell is made of tin.")
        await gateway.reload(mpr_candidates=2)
        with pytest.raises(ConfigError):
            await gateway.reload(llm={"type": "nobodys"})
        await gateway.answer()

        counts = gateway.engine.statistics
        assert (counts.requests, counts.documents, counts.reloads, counts.reloads_done) == (2, 1, 2, 1)


async def test_plugins_of_ours_go_on(running: Any) -> None:
    """Requests are counted on over a reload, and answers from before it are given again by the same model."""
    options = {name: {"enabled": True} for name in ("metrics", "response_cache")}
    same, other = ({"type": "counted", "reply": reply} for reply in ("One.", "Two."))
    request = {**HELLO, "temperature": 0}
    async with running(plugins={"options": options}) as gateway:
        cached = []
        for llm in (same, same, other):
            await gateway.reload(llm=llm, plugins={"options": options})
            _, body = await gateway.post("/v1/chat/completions", request)
            cached.append(body["usage"]["prompt_tokens_details"]["cached_tokens"] > 0)
        await gateway.settled()
        async with gateway.http.get("/plugins/metrics") as response:
            metrics = await response.text()

    counted = 'openkimi_http_requests_total{method="POST",route="/v1/chat/completions",status="200"} 3.0'
    assert cached == [False, True, False]
    assert counted in metrics
    assert "openkimi_reloads_done_total 3.0" in metrics
    assert "openkimi_ready 1.0" in metrics


async def test_what_only_a_start_heeds_is_named(running: Any) -> None:
    """The address is taken once, also when a later reload leaves it as it is."""
    async with running() as gateway:
        first = await gateway.reload(server={"port": 1, "host": "::1"})
        second = await gateway.reload(server={"port": 1, "host": "::1"})

    assert first.at_restart == second.at_restart == ("server.host", "server.port")
    assert second.changed == ()


async def test_reloads_come_one_after_the_other(running: Any) -> None:
    """Several at once end as the last config says, and nothing stays open of the others."""
    async with running() as gateway:
        write(gateway.path, llm={"type": "counted", "reply": "Two."})
        await asyncio.gather(*(gateway.reloader.reload() for _ in range(3)))
        await gateway.settled()

        assert await gateway.answer() == "Two."
        assert [each for each in gateway.plugin.log if each.endswith(".")] == [
            "open One.",
            "open Two.",
            "close One.",
        ]
        assert gateway.plugin.log[-3:] != ["enter 4", "leave 4"]


async def test_requests_do_not_notice_reloads(running: Any) -> None:
    """Callers in a row, streams among them, are all answered while the model changes again and again."""
    async with running() as gateway:
        answered: list[str] = []
        over = False

        async def call(stream: bool) -> None:
            while not over:
                body = {**HELLO, "stream": stream}
                async with gateway.http.post("/v1/chat/completions", json=body) as response:
                    text = await response.text()
                    assert response.status == 200
                    assert not stream or text.endswith("data: [DONE]\n\n")
                    answered.append(text)

        async with asyncio.TaskGroup() as callers:
            for number in range(4):
                callers.create_task(call(number % 2 == 0))
            for number in range(4):
                await gateway.reload(llm={"type": "counted", "reply": f"Number {number}."})
            over = True
        await gateway.settled()

        assert sum("Number" in text for text in answered) > 0
        opened = [each for each in gateway.plugin.log if each.startswith("open")]
        assert len(opened) == 5
        assert len([each for each in gateway.plugin.log if each.startswith("close")]) == 4


async def test_a_gateway_that_stops_ends_all_that_drains(running: Any) -> None:
    """Also who still answers the last of its own is closed, and nothing takes its place any more."""
    slow = {"type": "counted", "reply": "word " * 1000, "token_delay": 0.05}
    async with running(llm=slow) as gateway:
        response = await gateway.http.post("/v1/chat/completions", json={**HELLO, "stream": True})
        await response.content.readuntil(b"word")
        await gateway.reload(llm={"type": "counted", "reply": "Two."})
        gateway.serving.interrupt()
        rest = await response.text()

    log = gateway.plugin.log
    assert "the gateway is being stopped" in rest
    assert sorted(each for each in log if each.startswith("close")) == [
        "close Two.",
        f"close {slow['reply']}",
    ]
    assert {"leave 1", "leave 2"} <= set(log)
    with pytest.raises(BackendUnavailable, match="being stopped"):
        await gateway.reload(mpr_candidates=2)
    assert log.count("enter 3") == log.count("leave 3")


async def test_an_engine_without_a_file_cannot_read_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so."""
    monkeypatch.delenv("OPENKIMI_CONFIG_PATH", raising=False)

    for engine in (KimiEngine(), KimiEngine.of(KimiEngine().config)):
        with pytest.raises(ConfigError, match="no config file"):
            engine.successor()
