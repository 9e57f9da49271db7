"""Rate limits: who asks for too much is told when to come back, and nobody else notices."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from openkimi import ConfigError, Delta, Secret, Usage
from openkimi.api.buckets import Draw, MemoryBuckets, SharedBuckets
from openkimi.api.limits import duration
from openkimi.api.metering import Meter
from openkimi.config import build_config
from openkimi.receipt import Receipt

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}
ALICE, BOB = "sk-alice-0123456789abcdef", "sk-bob-0123456789abcdef"
KEYS = [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}]


def limited(**limits: int) -> dict[str, Any]:
    return {"rate_limit": limits}


def key(value: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {value}"}}


async def statuses(server: Any, count: int, **options: Any) -> list[int]:
    return [(await server.chat(HELLO, **options))[0] for _ in range(count)]


async def headers_of(server: Any, body: Any = HELLO, **options: Any) -> tuple[int, dict[str, str]]:
    async with server.http.post("/v1/chat/completions", json=body, **options) as response:
        await response.read()
        return response.status, {name.lower(): value for name, value in response.headers.items()}


# Requests


async def test_requests_beyond_the_limit_are_refused_in_openais_shape(gateway: Any) -> None:
    """429 with Retry-After and the words of OpenAI's API; refused requests cost the model nothing."""
    async with gateway(limited(requests_per_minute=2), reply="Yes.") as server:
        assert await statuses(server, 2) == [200, 200]
        async with server.http.post("/v1/chat/completions", json=HELLO) as response:
            error = (await response.json())["error"]
            status, headers = response.status, response.headers

        assert (status, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
        assert "2 requests a minute" in error["message"]
        assert 1 <= int(headers["Retry-After"]) <= 30
        assert len(server.backend.requests) == 2


async def test_answers_tell_what_is_left(gateway: Any) -> None:
    """OpenAI's headers stand on answers, streams and errors, for what is limited."""
    async with gateway(limited(requests_per_minute=4, tokens_per_minute=1000), reply="Yes.") as server:
        _, answer = await headers_of(server)
        _, stream = await headers_of(server, {**HELLO, "stream": True})
        status, error = await headers_of(server, {"messages": 5})

    assert answer["x-ratelimit-limit-requests"] == "4"
    assert answer["x-ratelimit-limit-tokens"] == "1000"
    assert [each["x-ratelimit-remaining-requests"] for each in (answer, stream, error)] == ["3", "2", "1"]
    assert answer["x-ratelimit-remaining-tokens"] == "1000"
    assert int(stream["x-ratelimit-remaining-tokens"]) < 1000
    assert answer["x-ratelimit-reset-requests"] == "15s"
    assert status == 400


async def test_without_limits_nothing_is_counted(gateway: Any) -> None:
    """By default there are no headers, and a limit on one thing says nothing of the other."""
    async with gateway(reply="Yes.") as server:
        _, free = await headers_of(server)
    async with gateway(limited(requests_per_minute=5), reply="Yes.") as server:
        _, requests = await headers_of(server)

    assert not [name for name in free if name.startswith("x-ratelimit")]
    assert [name for name in requests if name.startswith("x-ratelimit") and "tokens" in name] == []


async def test_probes_are_not_counted(gateway: Any) -> None:
    """/health answers whoever asks however often."""
    async with gateway(limited(requests_per_minute=1)) as server:
        for _ in range(5):
            async with server.http.get("/health") as response:
                assert response.status == 200


# Tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_charged_when_the_answer_is_known(gateway: Any, stream: bool) -> None:
    """The answer that goes over the limit is given whole; the next request waits till that is paid back."""
    async with gateway(limited(tokens_per_minute=10), reply="word " * 40) as server:
        first, _ = await headers_of(server, {**HELLO, "stream": stream})
        second, headers = await headers_of(server)

    assert (first, second) == (200, 429)
    assert int(headers["retry-after"]) > 120
    assert headers["x-ratelimit-remaining-tokens"] == "0"


async def test_who_leaves_a_stream_early_is_charged(gateway: Any) -> None:
    """Closing the connection before the usage comes is no way around the limit."""
    async with gateway(limited(tokens_per_minute=5), reply="word " * 400, token_delay=0.02) as server:
        async with server.http.post("/v1/chat/completions", json={**HELLO, "stream": True}) as response:
            async for line in response.content:
                if b'"content":"word' in line:
                    break
        while server.backend.active:
            await asyncio.sleep(0.01)

        assert (await server.chat(HELLO))[0] == 429


async def test_a_failed_answer_is_free(gateway: Any) -> None:
    """What the gateway could not serve costs a request and no tokens."""
    async with gateway(limited(tokens_per_minute=1), reply="Yes.") as server:
        status, _ = await server.chat({**HELLO, "openkimi": {"documents": ["doc_unknown"]}})
        _, headers = await headers_of(server)

    assert status == 404
    assert headers["x-ratelimit-remaining-tokens"] == "1"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "any", "input": "one two three"}),
        ("/v1/completions", {"model": "any", "prompt": ["one", "two"]}),
        ("/v1/responses", {"model": "any", "input": "one two three"}),
    ],
)
async def test_every_endpoint_charges(gateway: Any, path: str, body: dict[str, Any]) -> None:
    """Tokens count wherever they are spent, as the answer's own usage has them."""
    async with gateway(limited(tokens_per_minute=100), reply="Yes.") as server:
        async with server.http.post(path, json=body) as response:
            assert response.status == 200
            used = (await response.json())["usage"]["total_tokens"]
        _, headers = await headers_of(server)

    assert used - 2 <= 100 - int(headers["x-ratelimit-remaining-tokens"]) <= used


def test_a_meter_counts_what_is_told_and_guesses_the_rest() -> None:
    """An answer that did not end counts its pieces, and the prompt where none has ended."""
    receipt = Receipt(compressed=False, window=100, prompt_tokens=7)
    usage = Usage(prompt_tokens=7, completion_tokens=2)
    whole, early = Meter(), Meter()
    for event in (receipt, Delta(content="a"), Delta(usage=usage), Delta(usage=usage, index=1)):
        whole.add(event)
    for event in (receipt, Delta(content="a"), Delta(content="b", index=1)):
        early.add(event)

    assert (whole.tokens, early.tokens) == (2 * (7 + 2), 7 + 2)


# Callers


async def test_each_key_has_a_limit_of_its_own(gateway: Any) -> None:
    """One caller's use is not another's, and a key's own limits replace those of the server."""
    keys = [KEYS[0], {**KEYS[1], "rate_limit": {"requests_per_minute": 2}}, {"name": "free", "key": "f" * 16}]
    keys[2]["rate_limit"] = {}
    async with gateway({"api_keys": keys, **limited(requests_per_minute=1)}, reply="Yes.") as server:
        alice = await statuses(server, 2, **key(ALICE))
        bob = await statuses(server, 3, **key(BOB))
        free = await statuses(server, 3, **key("f" * 16))
        stranger, headers = await headers_of(server, **key("wrong"))

    assert (alice, bob, free) == ([200, 429], [200, 200, 429], [200, 200, 200])
    assert stranger == 401
    assert not [name for name in headers if name.startswith("x-ratelimit")]


async def test_without_keys_each_address_has_its_own(gateway: Any) -> None:
    """Addresses are told apart behind a trusted proxy too; in IPv6 a caller's whole network is one."""
    config = {**limited(requests_per_minute=1), "trusted_proxies": ["127.0.0.1"]}

    async with gateway(config, reply="Yes.") as server:
        got = [
            (await server.chat(HELLO, headers={"X-Forwarded-For": address}))[0]
            for address in (
                "192.0.2.1",
                "192.0.2.1",
                "192.0.2.2",
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8:1::1",
            )
        ]

    assert got == [200, 429, 200, 200, 429, 200]


# Buckets


def draw(name: str = "a", *, cost: float = 30, most: float = 30) -> Draw:
    return Draw(key=name, cost=cost, most=most)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Redis that listens on a socket in a folder of its own."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    place = tmp_path_factory.mktemp("redis")
    command = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(place / "socket"),
        "--save",
        "",
        "--dir",
        str(place),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while not (place / "socket").exists():
                time.sleep(0.01)
            yield f"unix://{place / 'socket'}"
        finally:
            server.terminate()


@pytest.fixture(params=["memory", "redis"])
async def buckets(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Buckets in this process, and in a real Redis."""
    if request.param == "memory":
        yield MemoryBuckets()
        return
    shared = SharedBuckets(Secret(request.getfixturevalue("redis_url")))
    await shared._client.flushall()
    yield shared
    await shared.aclose()


async def test_a_bucket_gives_until_it_is_empty(buckets: Any) -> None:
    """Draws pass while the debt is small enough, and add to it."""
    drawn = [await buckets.draw([draw(cost=25)]) for _ in range(3)]

    assert [each.passed for each in drawn] == [True, True, False]
    assert drawn[2].debts[0] == pytest.approx(50, abs=2)


async def test_all_is_drawn_or_nothing(buckets: Any) -> None:
    """A draw that one bucket refuses takes nothing from the others."""
    await buckets.draw([draw("empty", cost=60)])
    refused = await buckets.draw([draw("full"), draw("empty")])
    after = await buckets.draw([draw("full", cost=0)])

    assert not refused.passed
    assert after.debts == (0,)


async def test_a_debt_is_paid_back_in_time(buckets: Any) -> None:
    """What was drawn beyond the limit keeps the bucket closed until then, and not longer."""
    await buckets.draw([draw(cost=1, most=1e300)])
    before = await buckets.draw([draw(cost=0.1, most=0)])
    await asyncio.sleep(1.1)
    after = await buckets.draw([draw(cost=0.1, most=0)])

    assert (before.passed, after.passed) == (False, True)


async def test_a_hundred_at_once_draw_no_more_than_there_is(buckets: Any) -> None:
    """Counting and drawing are one step, also for callers at the same moment."""
    drawn = await asyncio.gather(*(buckets.draw([draw(cost=10, most=50)]) for _ in range(100)))

    assert sum(each.passed for each in drawn) == 6


async def test_memory_forgets_who_owes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of addresses does not stay in memory."""
    monkeypatch.setattr("openkimi.api.buckets._SWEEP_EVERY", 0)
    buckets = MemoryBuckets()
    for number in range(1000):
        await buckets.draw([draw(str(number), cost=0.001)])
    await asyncio.sleep(0.01)
    await buckets.draw([draw("last")])

    assert set(buckets._full_at) == {"last"}


async def test_two_gateways_count_together(gateway: Any, redis_url: str) -> None:
    """With a store in common, what one process lets pass the other one knows."""
    config = {"api_keys": KEYS, "rate_limit_store": redis_url, **limited(requests_per_minute=3)}

    async with gateway(config, reply="Yes.") as one, gateway(config, reply="Yes.") as two:
        got = [(await server.chat(HELLO, **key(ALICE)))[0] for server in (one, two, one, two)]

    assert got == [200, 200, 200, 429]


async def test_while_the_store_is_away_each_gateway_counts_alone(gateway: Any, tmp_path: Path) -> None:
    """Requests are answered, limits still hold, and the log says so without the store's address."""
    store = f"unix://user:secretword@{tmp_path}/nobody"
    config = {"rate_limit_store": store, **limited(requests_per_minute=2)}

    with structlog.testing.capture_logs() as logged:
        async with gateway(config, reply="Yes.") as server:
            got = await statuses(server, 3)

    warnings = [entry for entry in logged if entry["event"] == "rate_limit_store_failed"]
    assert got == [200, 200, 429]
    assert len(warnings) == 1
    assert "secretword" not in repr(logged)


async def test_the_store_is_used_again_once_it_is_back(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause the shared count holds again."""
    monkeypatch.setattr("openkimi.api.buckets._STORE_PAUSE", 0)
    link = tmp_path / "redis"
    shared = SharedBuckets(Secret(f"unix://{link}"))
    away = await shared.draw([draw("back")])
    link.symlink_to(redis_url.removeprefix("unix://"))
    back = await shared.draw([draw("back", cost=0)])
    await shared.aclose()

    assert away.debts[0] == pytest.approx(30, abs=1)
    assert back.debts == (0,)


@pytest.mark.parametrize(
    "store", ["redis", "http://x", "redis://host:port", "memcached://x", "redis://h/x/y?db=a"]
)
def test_a_store_of_no_known_kind_is_refused(store: str) -> None:
    """The error says what is expected, and does not show an address that may hold a password."""
    with pytest.raises(
        ConfigError, match=r"server\.rate_limit_store: expected memory://, redis://"
    ) as caught:
        build_config({"server": {"rate_limit_store": store}})

    assert store not in caught.value.message.replace("redis://HOST", "")


@pytest.mark.parametrize(
    "store", ["memory://", "redis://h:1/2", "valkeys://u:p@h", "unix:///run/valkey.sock"]
)
def test_stores_of_all_kinds_are_taken(store: str) -> None:
    """Redis and Valkey, with TLS or through a socket."""
    build_config({"server": {"rate_limit_store": store}})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.12, "120ms"), (8.64, "8.64s"), (59.96, "60s"), (361, "6m1s")]
)
def test_durations_read_as_openais_do(seconds: float, text: str) -> None:
    """The reset headers are written like 120ms, 8.64s and 6m1s."""
    assert duration(seconds) == text
