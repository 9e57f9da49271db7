"""API keys: who is let in, by what name, and that a key is never shown."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from litestar import Litestar, get

from openkimi import ConfigError, KimiEngine
from openkimi.api.app import create_app
from openkimi.api.routers import create_chat_router
from openkimi.api_keys import ApiKey
from openkimi.config import build_config
from openkimi.testing import serving

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}
ALICE, BOB = "sk-alice-0123456789abcdef", "sk-bob-0123456789abcdef"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


NAMED = [{"name": "alice", "key": ALICE}, {"name": "bob", "sha256": sha256(BOB)}]


@pytest.fixture
def key_file(tmp_path: Path) -> Any:
    """Write a file of keys as if later each time; None takes it away."""
    path = tmp_path / "keys.json"
    written = 0

    def write(content: Any) -> str:
        nonlocal written
        written += 1
        if content is None:
            path.unlink()
            return str(path)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        os.utime(path, (written, written))
        return str(path)

    return write


# Who comes in


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (bearer(ALICE), 200),
        ({"Authorization": f"bearer  {ALICE} "}, 200),
        ({"X-Api-Key": ALICE}, 200),
        (bearer(BOB), 200),
        ({}, 401),
        (bearer(""), 401),
        (bearer(ALICE[:-1]), 401),
        (bearer(sha256(BOB)), 401),
        ({"Authorization": f"Basic {ALICE}"}, 401),
        ({"X-Api-Key": "wrong", **bearer(ALICE)}, 401),
    ],
)
async def test_a_named_key_or_its_hash_lets_in(gateway: Any, headers: dict[str, str], status: int) -> None:
    """A key from the config is good in both headers, whether the config has it or its hash."""
    async with gateway({"api_keys": NAMED}, reply="Yes.") as server:
        got, body = await server.chat(HELLO, headers=headers)

    assert got == status
    if status == 401:
        assert (body["error"]["type"], body["error"]["code"]) == ("authentication_error", "invalid_api_key")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models", 401),
        ("/v1/models/any", 401),
        ("/v1/documents", 401),
        ("/v1/plugins", 401),
        ("/schema", 401),
        ("/schema/openapi.json", 401),
        ("/health", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
    ],
)
async def test_everything_but_health_wants_a_key(gateway: Any, path: str, status: int) -> None:
    """With keys on, only the probes answer strangers, also about the document of the API."""
    async with gateway({"api_keys": NAMED}) as server:
        async with server.http.get(path) as response:
            stranger = response.status
        async with server.http.get(path, headers=bearer(ALICE)) as response:
            friend = response.status

    assert (stranger, friend) == (status, 200)


async def test_without_keys_everybody_comes_in(gateway: Any) -> None:
    """By default no key is asked for, and one that is sent does no harm."""
    async with gateway(reply="Yes.") as server:
        assert (await server.chat(HELLO))[0] == 200
        assert (await server.chat(HELLO, headers=bearer("anything")))[0] == 200


async def test_a_refusal_names_the_scheme(gateway: Any) -> None:
    """A 401 says by WWW-Authenticate what it wants (RFC 9110, 15.5.2)."""
    async with gateway({"api_keys": NAMED}) as server, server.http.get("/v1/models") as response:
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_mounted_router_keeps_keys_and_limits(held: Any) -> None:
    """In somebody's own application the router asks for keys and counts; the other routes are theirs."""
    engine = KimiEngine(
        plugins=[held(reply="Yes.")], llm_config={"type": "held"}, rag_config={"type": "held"}
    )
    server = {"api_keys": NAMED, "rate_limit": {"requests_per_minute": 1}}
    engine._overrides |= {"server": server, "embedder": {"type": "held"}}

    @get("/mine")
    async def mine() -> str:
        return "mine"

    app = Litestar([create_chat_router(engine), mine], lifespan=[engine.lifespan], logging_config=None)
    got = []
    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        for headers in ({}, bearer(ALICE), bearer(ALICE), bearer(BOB)):
            async with http.post("/v1/chat/completions", json=HELLO, headers=headers) as response:
                got.append((response.status, response.headers.get("x-ratelimit-remaining-requests")))
        async with http.get("/mine") as response:
            assert await response.text() == "mine"

    assert got == [(401, None), (200, "0"), (429, "0"), (200, "0")]


# Tenants


async def test_two_keys_have_documents_of_their_own(gateway: Any, speech: str) -> None:
    """A tenant neither lists, nor names, nor loses its own by, what another one sent."""
    book = {"messages": [{"role": "system", "content": speech}, *HELLO["messages"]]}

    async def documents(server: Any, key: str) -> list[str]:
        async with server.http.get("/v1/documents", headers=bearer(key)) as response:
            return [document["id"] for document in (await response.json())["data"]]

    async with gateway({"api_keys": NAMED}, reply="Yes.", context_length=4096) as server:
        _, body = await server.chat(book, headers=bearer(ALICE))
        [sent] = [document["id"] for document in body["openkimi"]["documents"]]
        named = {**HELLO, "openkimi": {"documents": [sent]}}
        before = await documents(server, ALICE), await documents(server, BOB)
        own, _ = await server.chat(named, headers=bearer(ALICE))
        foreign, error = await server.chat(named, headers=bearer(BOB))
        await server.chat(book, headers=bearer(BOB))
        after = await documents(server, ALICE), await documents(server, BOB)

    assert before == ([sent], [])
    assert (own, foreign, error["error"]["code"]) == (200, 404, "document_not_found")
    assert after == ([sent], [sent])


async def test_preloaded_documents_are_everybodys(held: Any, tmp_path: Path) -> None:
    """What the operator preloads is listed and found by every key."""
    book = tmp_path / "book.txt"
    book.write_text("The lighthouse belongs to Ada. " * 100)
    engine = KimiEngine(
        plugins=[held(reply="Yes.")], llm_config={"type": "held"}, rag_config={"type": "held"}
    )
    engine._overrides |= {"server": {"api_keys": NAMED}, "preload": [str(book)], "embedder": {"type": "held"}}

    async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:
        for key in (ALICE, BOB):
            async with http.get("/v1/documents", headers=bearer(key)) as response:
                [document] = (await response.json())["data"]
            named = {**HELLO, "openkimi": {"documents": [document["id"]]}}
            async with http.post("/v1/chat/completions", json=named, headers=bearer(key)) as response:
                assert response.status == 200


# The file of keys


async def test_a_file_of_keys_is_read_again_when_it_changes(
    gateway: Any, key_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is added comes in and one that is taken away does not, without a restart."""
    monkeypatch.setattr("openkimi.key_file._LOOK_EVERY", 0)
    server_config = {"api_keys": [ALICE], "api_keys_file": key_file([{"name": "bob", "key": BOB}])}

    async with gateway(server_config, reply="Yes.") as server:
        first = [(await server.chat(HELLO, headers=bearer(key)))[0] for key in (ALICE, BOB)]
        key_file([])
        second = [(await server.chat(HELLO, headers=bearer(key)))[0] for key in (ALICE, BOB)]

    assert (first, second) == ([200, 200], [200, 401])


async def test_an_empty_file_lets_nobody_in(gateway: Any, key_file: Any) -> None:
    """Where a file of keys is configured, having none in it does not open the door."""
    async with gateway({"api_keys_file": key_file([])}) as server:
        assert (await server.chat(HELLO))[0] == 401


@pytest.mark.parametrize(
    "broken", ["[", "{}", '[{"name": "bob"}]', '[{"name": "alice", "key": "other"}]', None]
)
async def test_a_file_that_breaks_changes_nothing(
    gateway: Any, key_file: Any, broken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the file is wrong or gone the keys of before stay good, and the log says so."""
    monkeypatch.setattr("openkimi.key_file._LOOK_EVERY", 0)
    path = key_file([{"name": "bob", "key": BOB}])

    async with gateway({"api_keys": NAMED[:1], "api_keys_file": path}, reply="Yes.") as server:
        assert (await server.chat(HELLO, headers=bearer(BOB)))[0] == 200
        key_file(broken)
        with structlog.testing.capture_logs() as logged:
            status, _ = await server.chat(HELLO, headers=bearer(BOB))

    assert status == 200
    assert "api_keys_not_read" in [entry["event"] for entry in logged]


def test_a_file_may_take_keys_from_the_environment(key_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """{"$env": "NAME"} works in the file as it does in the config."""
    monkeypatch.setenv("BOBS_KEY", BOB)
    path = key_file([{"name": "bob", "key": {"$env": "BOBS_KEY"}}])

    build_config({"server": {"api_keys_file": path}})


# What is wrong is said at the start


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([""], "server.api_keys[0]: the key is empty"),
        ([5], "server.api_keys[0]: expected a key, or an object with name and key or sha256"),
        ([ALICE, {"name": "a b", "key": BOB}], "server.api_keys[1]: name: "),
        ([{"key": ALICE}], "server.api_keys[0].name: required, but not given"),
        ([{"name": "a"}], "server.api_keys[0]: expected one of key and sha256"),
        ([{"name": "a", "key": ALICE, "sha256": sha256(ALICE)}], "server.api_keys[0]: expected one of"),
        ([{"name": "a", "sha256": ALICE}], "server.api_keys[0]: sha256: "),
        ([{"name": "a", "keys": ALICE}], "server.api_keys[0].keys: unknown option"),
        ([{"name": "anonymous\n", "key": ALICE}], "server.api_keys[0]: the name ends with a line break"),
        ([{"name": "anonymous", "key": ALICE}], "server.api_keys[0]: the name anonymous is that of callers"),
        (
            [{"name": "a", "key": ALICE}, {"name": "a", "key": BOB}],
            "server.api_keys: the name 'a' is given twice",
        ),
        ([ALICE, {"name": "a", "key": ALICE}], "server.api_keys: one key is given twice"),
        (
            [{"name": "a", "key": ALICE, "rate_limit": {"requests_per_minute": 0}}],
            "server.api_keys[0]: rate_limit.requests_per_minute: expected int >= 1",
        ),
    ],
)
def test_a_wrong_entry_is_named_and_not_shown(keys: list[Any], message: str) -> None:
    """The error names the place, and holds nothing of a key."""
    with pytest.raises(ConfigError) as caught:
        build_config({"server": {"api_keys": keys}})

    assert caught.value.message.startswith(message)
    assert "sk-" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not valid JSON"),
        ({}, "expected a list of keys, got dict"),
        (["good-0123456789abc", 5], "[1]: Expected a key"),
        ([ALICE], "one key is given twice"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_is_named_at_the_start(key_file: Any, content: Any, message: str) -> None:
    """A file of keys that cannot be used ends the start."""
    path = "/no/such/keys.json" if content is None else key_file(content)

    with pytest.raises(ConfigError) as caught:
        build_config({"server": {"api_keys": [ALICE], "api_keys_file": path}})

    assert message in caught.value.message
    assert "sk-" not in caught.value.message


# What is kept and shown


def test_a_config_holds_only_hashes() -> None:
    """After the config is read no key is left in it, whatever is printed of it."""
    config = build_config({"server": {"api_keys": [ALICE, {"name": "bob", "key": BOB}]}})

    [alice, bob] = config.server.api_keys
    assert bob.digest.hex() == sha256(BOB)
    assert repr(bob) == "ApiKey('bob')"
    assert "sk-" not in repr(config)
    assert not any("sk-" in repr(getattr(alice, name)) for name in ApiKey.__slots__)


def test_an_unnamed_key_keeps_the_name_it_had() -> None:
    """Documents that were stored for a key without a name are found again."""
    [key] = build_config({"server": {"api_keys": [ALICE]}}).server.api_keys

    assert key.name == f"key-{sha256(ALICE)[:12]}"


def test_white_space_around_a_key_does_not_count() -> None:
    """A variable that was read from a file often ends with a line break."""
    [key] = build_config({"server": {"api_keys": [f" {ALICE}\n"]}}).server.api_keys

    assert key.digest.hex() == sha256(ALICE)
