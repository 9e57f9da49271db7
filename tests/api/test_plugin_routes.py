"""What plugins add to the gateway: routes, middleware, what they hold open, a backend around the model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog
from litestar import Controller, Litestar, Request, get, post

from openkimi import PUBLIC, Backend, BackendWrapper, ConfigError, KimiEngine, PluginError, Provider, hookimpl
from openkimi.api.app import create_app
from openkimi.api.loading import loading
from openkimi.api.routers import create_chat_router
from openkimi.testing import serving
from openkimi_scripted import ScriptedBackend

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


def plugin(name: str = "ours", **hooks: Any) -> SimpleNamespace:
    return SimpleNamespace(__name__=name, **{hook: hookimpl(function) for hook, function in hooks.items()})


@pytest.fixture
def engine(held: Any) -> Any:
    """Make an engine with plugins: ``engine(plugin, server={...})``."""

    def make(*plugins: Any, **sections: Any) -> KimiEngine:
        made = KimiEngine(
            plugins=[held(reply="Yes."), *plugins],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
        )
        made._overrides |= sections
        return made

    return make


@asynccontextmanager
async def client(app: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        yield http


def report_of(engine: KimiEngine, name: str = "ours") -> Any:
    return next(report for report in engine.config.plugins.reports if report.name == name)


@get("/")
async def root() -> str:
    return "root"


@get("/who")
async def who(request: Request[Any, Any, Any]) -> str:
    return str(request.state.openkimi_tenant)


class Notes(Controller):
    path = "/notes"

    @post("/", status_code=200)
    async def write(self, request: Request[Any, Any, Any]) -> str:
        return (await request.body()).decode()


# Routes


@pytest.mark.parametrize("mounted", [False, True])
async def test_routes_are_served_under_the_plugins_name(engine: Any, mounted: bool) -> None:
    """Handlers and controllers answer under /plugins/<name>, in the gateway and in another's application."""
    kimi = engine(plugin(register_routes=lambda app: [root, Notes]))
    app = Litestar([create_chat_router(kimi)], logging_config=None) if mounted else create_app(kimi)

    async with client(app) as http:
        async with http.get("/plugins/ours") as response:
            assert await response.text() == "root"
            assert "x-request-id" in response.headers
        async with http.post("/plugins/ours/notes", data="a note") as response:
            assert await response.text() == "a note"
        async with http.get("/v1/plugins") as response:
            listed = {entry["id"]: entry for entry in (await response.json())["data"]}

    assert listed["ours"]["routes"] == ["GET /plugins/ours", "POST /plugins/ours/notes"]
    assert listed["ours"]["state"] == "loaded"


async def test_routes_heed_keys_and_limits(engine: Any) -> None:
    """A plugin's route wants a key, knows whose it is, and counts against the key's requests."""
    server = {
        "api_keys": [{"name": "ada", "key": "sk-0123456789abcdef", "rate_limit": {"requests_per_minute": 2}}]
    }
    key = {"Authorization": "Bearer sk-0123456789abcdef"}
    kimi = engine(plugin(register_routes=lambda app: [who]), server=server)

    async with client(create_app(kimi)) as http:
        async with http.get("/plugins/ours/who") as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] == "invalid_api_key"
        async with http.get("/plugins/ours/who", headers=key) as response:
            assert await response.text() == "ada"
            assert response.headers["x-ratelimit-remaining-requests"] == "1"
        async with (
            http.get("/plugins/ours/who", headers=key),
            http.get("/plugins/ours/who", headers=key) as response,
        ):
            assert response.status == 429


@get("/health", opt=PUBLIC)
async def health(request: Request[Any, Any, Any]) -> str:
    return str(request.state.openkimi_tenant)


class Callback(Controller):
    path = "/callback"
    opt = PUBLIC

    @post("/", status_code=200)
    async def called(self) -> str:
        return "called"


def keyed(**plugins: Any) -> dict[str, Any]:
    """Make sections of a config with a key, and two requests a minute for whoever has none."""
    limited = {"api_keys": ["sk-0123456789abcdef"], "rate_limit": {"requests_per_minute": 2}}
    return {"server": limited, "plugins": plugins}


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_route_is_public_where_the_config_allows_its_plugin_that(engine: Any, allowed: bool) -> None:
    """What is installed opens no door by itself: a mark asks, plugins.public grants, both are listed."""
    marked = plugin(register_routes=lambda app: [who, health, Callback])
    kimi = engine(marked, **keyed(public=["ours"] if allowed else []))
    addresses = ["GET /plugins/ours/health", "POST /plugins/ours/callback"]
    statuses = []

    async with client(create_app(kimi)) as http:
        for method, path in [*(address.split() for address in addresses), ("GET", "/plugins/ours/who")]:
            async with http.request(method, path) as response:
                statuses.append(response.status)

    report = report_of(kimi)
    assert statuses == ([200, 200, 401] if allowed else [401, 401, 401])
    assert (report.public, report.asks_public) == ((addresses, []) if allowed else ([], addresses))
    assert len(report.routes) == 3


async def test_only_the_mark_opens_a_route(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin writes into the mark, by mistake, opens no route that has that instead."""
    monkeypatch.setitem(PUBLIC, "cached", True)

    @get("/cached", opt={"cached": True})
    async def cached() -> str:
        return "cached"

    async with (
        client(
            create_app(engine(plugin(register_routes=lambda app: [cached]), **keyed(public=["ours"])))
        ) as http,
        http.get("/plugins/ours/cached") as response,
    ):
        assert response.status == 401


async def test_a_public_route_is_nobodys_and_has_the_limits_of_addresses(engine: Any) -> None:
    """No key is looked at, and what strangers use up is not taken from the callers with keys."""
    kimi = engine(plugin(register_routes=lambda app: [who, health]), **keyed(public=["ours"]))
    key = {"Authorization": "Bearer sk-0123456789abcdef"}
    answers = []

    async with client(create_app(kimi)) as http:
        for headers in (key, {"Authorization": "Bearer wrong"}, {}):
            async with http.get("/plugins/ours/health", headers=headers) as response:
                answers.append((response.status, (await response.text())[:9]))
        async with http.get("/plugins/ours/who", headers=key) as response:
            assert response.status == 200

    assert answers == [(200, "anonymous"), (200, "anonymous"), (429, '{"error":')]


def test_a_plugin_that_is_not_there_cannot_be_public(engine: Any) -> None:
    """A misspelt name would leave an operator in the belief that a route answers."""
    with pytest.raises(
        ConfigError, match=r"plugins.public\[0\]: there is no plugin 'our'; did you mean 'ours'"
    ):
        create_app(engine(plugin(register_routes=lambda app: [health]), plugins={"public": ["our"]}))


async def test_a_route_that_fails_answers_in_openais_shape(engine: Any) -> None:
    """What a plugin's route raises is a 500 of its own, and the gateway goes on."""

    @get("/")
    async def broken() -> str:
        raise RuntimeError("no luck")

    async with client(create_app(engine(plugin(register_routes=lambda app: [broken])))) as http:
        async with http.get("/plugins/ours") as response:
            assert response.status == 500
            assert (await response.json())["error"]["type"] == "server_error"
        async with http.post("/v1/chat/completions", json=HELLO) as response:
            assert response.status == 200


@get("/")
async def unannotated(thing):  # type: ignore[no-untyped-def]
    """Litestar takes no handler like this one."""


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (lambda app: ["/"], "must return handlers, controllers or routers of Litestar, not str"),
        (lambda app: [root, root], "two handlers are for GET /plugins/ours"),
        (lambda app: [unannotated], "ImproperlyConfiguredException"),
        (lambda app: 1 / 0, "register_routes: ZeroDivisionError: division by zero"),
        (lambda request: [], "request"),
    ],
)
async def test_a_plugin_whose_routes_are_wrong_is_left_out(engine: Any, hook: Any, reason: str) -> None:
    """It is named with the remedy, in the log and in the list, and the others go on."""
    kimi = engine(plugin(register_routes=hook), plugin("other", register_routes=lambda app: [root]))
    with structlog.testing.capture_logs() as logged:
        app = create_app(kimi)

        async with client(app) as http:
            async with http.get("/plugins/other") as response:
                assert response.status == 200
            async with http.get("/plugins/ours") as response:
                assert response.status == 404
            async with http.get("/v1/plugins") as response:
                listed = {entry["id"]: entry for entry in (await response.json())["data"]}

    assert reason in listed["ours"]["reason"]
    assert '"block": ["ours"]' in listed["ours"]["remedy"]
    assert [entry["plugin"] for entry in logged if entry["event"] == "plugin_failed"] == ["ours"]


def test_a_hook_that_is_async_is_told_to_be_plain(engine: Any) -> None:
    """A coroutine is no list of routes."""

    async def register_routes(app: Any) -> list[Any]:
        return []

    kimi = engine(plugin(register_routes=register_routes))
    create_app(kimi)

    assert "write it with def, not with async def" in report_of(kimi).reason


def test_two_plugins_of_one_name_are_told_apart(engine: Any) -> None:
    """The second one with hooks for applications is left out: their addresses would be the same."""
    kimi = engine(plugin(register_routes=lambda app: [root]), plugin(register_routes=lambda app: [who]))

    reports = [report for report in kimi.config.plugins.reports if report.name == "ours"]
    assert [report.state for report in reports] == ["loaded", "failed"]
    assert "another plugin is named ours" in reports[1].reason


def test_a_name_that_no_address_can_hold_is_refused(engine: Any) -> None:
    """A name is a word of letters, digits and a few signs."""
    kimi = engine(plugin("a/b c", register_routes=lambda app: [root]))

    assert "cannot stand in an address" in report_of(kimi, "a/b c").reason


# Middleware


def signing(name: str) -> Any:
    """Return a middleware that adds its name to a header on the way out."""

    def around(app: Any) -> Any:
        async def signed(scope: Any, receive: Any, send: Any) -> None:
            async def signed_send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-signed", name.encode())]
                await send(message)

            await app(scope, receive, signed_send)

        return signed

    return around


@pytest.mark.parametrize("mounted", [False, True])
async def test_middleware_stands_around_in_the_order_of_names(engine: Any, mounted: bool) -> None:
    """The plugin whose name comes first is outermost, whatever order they load in; so is a list's first."""
    kimi = engine(
        plugin("zeta", register_middleware=lambda app: [signing("zeta")]),
        plugin("alpha", register_middleware=lambda app: [signing("alpha-1"), signing("alpha-2")]),
    )
    app = Litestar([create_chat_router(kimi)], logging_config=None) if mounted else create_app(kimi)

    async with client(app) as http:
        async with http.post("/v1/chat/completions", json=HELLO) as response:
            signatures = response.headers.getall("x-signed")

    assert signatures == ["zeta", "alpha-2", "alpha-1"]


async def test_middleware_sees_what_is_refused(engine: Any) -> None:
    """An address that is not there and a missing key pass through it, too."""
    server = {"api_keys": ["sk-0123456789abcdef"]}
    kimi = engine(plugin(register_middleware=lambda app: [signing("seen")]), server=server)

    async with client(create_app(kimi)) as http:
        for path, status in (("/nowhere", 404), ("/v1/models", 401)):
            async with http.get(path) as response:
                assert (response.status, response.headers["x-signed"]) == (status, "seen")


async def test_middleware_that_raises_is_named_and_answered_for(engine: Any) -> None:
    """The request gets an error in OpenAI's shape and the log the plugin's name."""

    def around(app: Any) -> Any:
        async def broken(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                raise RuntimeError("a secret")
            await app(scope, receive, send)

        return broken

    with structlog.testing.capture_logs() as logged:
        async with client(create_app(engine(plugin(register_middleware=lambda app: [around])))) as http:
            async with http.get("/v1/models") as response:
                assert response.status == 500
                assert (await response.json())["error"]["code"] == "internal_error"
                assert "x-request-id" in response.headers

    [named] = [entry for entry in logged if entry["event"] == "plugin_failed"]
    assert (named["plugin"], named["reason"]) == ("ours", "RuntimeError")


@pytest.mark.parametrize(
    "hook", [lambda app: 1 / 0, lambda app: ["no function"], lambda app: [lambda app: None]]
)
def test_middleware_that_is_not_to_be_had_ends_the_start(engine: Any, hook: Any) -> None:
    """Requests must not pass without what may be there to stop them: the plugin and the way out are named."""
    with pytest.raises(PluginError, match="the plugin ours: register_middleware"):
        create_app(engine(plugin(register_middleware=hook)))


# What is held open


async def test_a_lifespan_is_entered_before_requests_and_left_after(engine: Any) -> None:
    """All hooks of a plugin share one view of the application, whose engine can be used."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await app.engine.open()
        app.state["window"] = await app.engine.context_window()
        seen.append("entered")
        yield
        seen.append("left")

    def register_routes(app: Any) -> list[Any]:
        @get("/")
        async def window() -> int:
            return int(app.state["window"])

        return [window]

    async with client(create_app(engine(plugin(lifespan=lifespan, register_routes=register_routes)))) as http:
        async with http.get("/plugins/ours") as response:
            assert int(await response.text()) > 0
        assert seen == ["entered"]

    assert seen == ["entered", "left"]


async def test_the_engines_own_lifespan_holds_those_of_plugins(engine: Any) -> None:
    """An application of somebody else's that has engine.lifespan has the plugins' too."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        seen.append("entered")
        yield
        seen.append("left")

    kimi = engine(plugin(lifespan=lifespan))
    app = Litestar([create_chat_router(kimi)], lifespan=[kimi.lifespan], logging_config=None)

    async with client(app):
        assert seen == ["entered"]

    assert seen == ["entered", "left"]


async def hanging() -> None:
    await asyncio.sleep(3600)


async def raising() -> None:
    raise RuntimeError("no luck")


@pytest.mark.parametrize(
    ("fails", "reason"), [(raising, "lifespan: RuntimeError: no luck"), (hanging, "after 0.2 s")]
)
async def test_a_lifespan_that_fails_or_hangs_leaves_the_others(
    engine: Any, monkeypatch: pytest.MonkeyPatch, fails: Any, reason: str
) -> None:
    """The plugin is named, its routes say so, and the gateway serves."""
    monkeypatch.setattr("openkimi.extensions.START_SECONDS", 0.2)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await fails()
        yield

    kimi = engine(plugin(lifespan=lifespan, register_routes=lambda app: [root]))

    async with client(create_app(kimi)) as http:
        async with http.get("/plugins/ours") as response:
            assert response.status == 503
            assert "GET /v1/plugins says why" in (await response.json())["error"]["message"]
        async with http.post("/v1/chat/completions", json=HELLO) as response:
            assert response.status == 200

    assert reason in report_of(kimi).reason


async def test_a_lifespan_that_fails_at_the_end_stops_nobody(engine: Any) -> None:
    """It is named in the log, and the others are left."""
    left: list[str] = []

    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        yield
        raise RuntimeError("no luck")

    @asynccontextmanager
    async def good() -> AsyncIterator[None]:
        yield
        left.append("good")

    with structlog.testing.capture_logs() as logged:
        async with client(create_app(engine(plugin(lifespan=good), plugin("zeta", lifespan=broken)))):
            pass

    assert left == ["good"]
    assert [entry["plugin"] for entry in logged if entry["event"] == "plugin_failed_at_the_end"] == ["zeta"]


def test_a_lifespan_without_its_decorator_is_told_which(engine: Any) -> None:
    """An asynchronous generator is no context manager."""

    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield

    kimi = engine(plugin(lifespan=lifespan))

    async def start() -> None:
        async with client(create_app(kimi)):
            pass

    asyncio.run(start())
    assert "add @asynccontextmanager" in report_of(kimi).reason


async def test_plugins_and_their_routes_answer_while_the_model_loads(engine: Any) -> None:
    """That is when one wants to know what is going on; what needs the model says that it is being loaded."""
    loaded = asyncio.Event()

    class Slow:
        @hookimpl
        def register_backends(self) -> list[Provider[Any]]:
            @asynccontextmanager
            async def opened(options: object, context: object) -> AsyncIterator[Any]:
                await loaded.wait()
                yield ScriptedBackend()

            return [Provider("slow", opened)]

    kimi = engine(Slow(), plugin(register_routes=lambda app: [root]), llm={"type": "slow"})
    app = create_app(kimi, lifespan=loading(kimi, lambda error: None))

    async with client(app) as http:
        for path, status in (("/v1/plugins", 200), ("/plugins/ours", 200), ("/v1/models", 503)):
            async with http.get(path) as response:
                assert response.status == status, path
        loaded.set()


# A backend around the model


class Loud(BackendWrapper):
    async def generate(self, request: Any) -> Any:
        async for delta in self.backend.generate(request):
            yield msgspec.structs.replace(delta, content=delta.content.upper())


async def test_a_backend_takes_the_place_of_the_one_that_was_opened(engine: Any) -> None:
    """What wrap_backend returns answers; None changes nothing."""

    def wrap_backend(backend: Backend) -> Backend:
        return Loud(backend)

    kimi = engine(plugin(wrap_backend=wrap_backend), plugin("other", wrap_backend=lambda app, backend: None))

    assert await kimi.chat("Hello?") == "YES."
    await kimi.close()


@pytest.mark.parametrize("hook", [lambda backend: 1 / 0, lambda backend: "a model"])
async def test_a_backend_that_is_none_ends_the_start(engine: Any, hook: Any) -> None:
    """The plugin is named, and what was opened is closed again."""
    kimi = engine(plugin(wrap_backend=hook))

    with pytest.raises(PluginError, match="the plugin ours: wrap_backend"):
        await kimi.open()

    assert not kimi.is_open


def test_a_wrapper_is_like_what_it_wraps(held: Any) -> None:
    """Every public member of a backend, whatever the contract comes to hold, is that of the one inside."""
    inside = held(context_length=777, concurrency=3, parameters=5).backend
    wrapper = BackendWrapper(inside)

    for name in (name for name in dir(Backend) if not name.startswith("_")):
        if callable(getattr(Backend, name)):
            assert name in vars(BackendWrapper), name
        else:
            assert getattr(wrapper, name) == getattr(inside, name), name


# Options


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    greeting: str = "hello"


def greeter() -> SimpleNamespace:
    def register_routes(app: Any) -> list[Any]:
        @get("/")
        async def greet() -> str:
            return str(app.options.greeting)

        return [greet]

    return plugin(register_options=lambda: Options, register_routes=register_routes)


@pytest.mark.parametrize(
    ("options", "answer"), [({}, "hello"), ({"ours": {"greeting": {"$env": "GREETING"}}}, "good day")]
)
async def test_options_come_from_the_config(
    engine: Any, monkeypatch: pytest.MonkeyPatch, options: Any, answer: str
) -> None:
    """plugins.options holds them by the plugin's name; without an entry the defaults hold."""
    monkeypatch.setenv("GREETING", "good day")

    async with client(create_app(engine(greeter(), plugins={"options": options}))) as http:
        async with http.get("/plugins/ours") as response:
            assert await response.text() == answer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ours": {"greting": "x"}},
            "plugins.options.ours.greting: unknown option; did you mean 'greeting'?",
        ),
        ({"ours": {"greeting": 1}}, "plugins.options.ours.greeting: expected str, got int (1)"),
        ({"hours": {}}, "plugins.options.hours: there is no such plugin with options; did you mean 'ours'?"),
        ({"Held": {}}, "plugins.options.Held: the plugin takes no options"),
    ],
)
def test_options_that_are_wrong_are_errors_of_the_config(engine: Any, options: Any, message: str) -> None:
    """The place is named before anything is opened."""
    with pytest.raises(ConfigError) as error:
        create_app(engine(greeter(), plugins={"options": options}))

    assert error.value.message == message


def test_an_option_without_a_default_fails_its_plugin(engine: Any) -> None:
    """A plugin that is installed must not want a config of everybody."""

    class Needy(msgspec.Struct):
        wanted: str

    kimi = engine(plugin(register_options=lambda: Needy))

    assert "the option 'wanted' needs a default" in report_of(kimi).reason


def test_a_plugin_that_the_config_names_must_work(engine: Any) -> None:
    """Who gave it options wants it: what makes it fail ends the start, with its reason and the way out."""
    broken = plugin(register_options=lambda: Options, register_routes=lambda app: 1 / 0)

    create_app(engine(broken))
    with pytest.raises(PluginError, match=r"the plugin ours: register_routes: Zero.*block"):
        create_app(engine(broken, plugins={"options": {"ours": {}}}))
