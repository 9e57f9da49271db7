"""Metrics: what Prometheus reads, with nothing in it that a caller wrote."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from openkimi import KimiEngine, PluginError
from openkimi.api.app import create_app
from openkimi.testing import serving

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}
DEPLOYMENT = (Path(__file__).parents[2] / "docs/deployment.md").read_text("utf-8")
KEY = "sk-0123456789abcdef"


class Measured:
    """A gateway that is measured."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http

    async def post(self, path: str, body: Any) -> int:
        async with self.http.post(path, json=body) as response:
            await response.read()
            return response.status

    async def read(self) -> str:
        async with self.http.get("/plugins/metrics") as response:
            assert response.status == 200
            return await response.text()

    async def values(self) -> dict[str, float]:
        """Return the samples that have a value, each under its name and the values of its labels."""
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(await self.read())
            for sample in family.samples
        }


@pytest.fixture
def measured(held: Any) -> Any:
    """Make a gateway with metrics: ``async with measured(server={...}, reply="Yes.") as gateway``."""

    @asynccontextmanager
    async def start(
        server: Any = None, headers: Any = None, enabled: bool = True, **script: Any
    ) -> AsyncIterator[Measured]:
        engine = KimiEngine(
            plugins=[held(**script)],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
        )
        options = {"metrics": {"enabled": enabled}}
        engine._overrides |= {"plugins": {"options": options}, "server": server or {}}
        async with serving(create_app(engine)) as url, aiohttp.ClientSession(url, headers=headers) as http:
            yield Measured(http)

    return start


async def test_requests_are_counted_by_route_and_status(measured: Any) -> None:
    """Each request counts once, under its route and what became of it, and its time is measured."""
    async with measured() as gateway:
        await gateway.post("/v1/chat/completions", HELLO)
        await gateway.post("/v1/chat/completions", {**HELLO, "stream": True})
        await gateway.post("/v1/chat/completions", {"messages": 1})
        values = await gateway.values()

    assert values["openkimi_http_requests_total POST /v1/chat/completions 200"] == 2
    assert values["openkimi_http_requests_total POST /v1/chat/completions 400"] == 1
    assert values["openkimi_http_request_duration_seconds_count POST /v1/chat/completions"] == 3
    assert values["openkimi_http_first_byte_seconds_count POST /v1/chat/completions"] == 3
    assert values["openkimi_http_requests_in_progress"] == 1
    assert values["openkimi_ready"] == 1


async def test_the_work_of_the_model_is_counted(measured: Any) -> None:
    """Tokens, answers, paths and documents, as callers were told them."""
    async with measured(context_length=4096) as gateway:
        async with gateway.http.post("/v1/chat/completions", json={**HELLO, "n": 2}) as response:
            usage = (await response.json())["usage"]
        await gateway.post("/v1/chat/completions", {**HELLO, "openkimi": {"mpr": {"candidates": 3}}})
        await gateway.post("/v1/documents", {"text": "The tower is red."})
        values = await gateway.values()

    assert values["openkimi_requests_total"] == 2
    assert values["openkimi_answers_total"] == 3
    assert values["openkimi_paths_total"] == 5
    assert values["openkimi_documents_processed_total"] == 1
    assert values["openkimi_prompt_tokens_total"] > usage["prompt_tokens"]
    assert values["openkimi_completion_tokens_total"] > usage["completion_tokens"]
    assert values["openkimi_requests_failed_total"] == 0


async def test_the_queue_is_measured(measured: Any) -> None:
    """What the model answers and what waits for it are told apart."""
    async with measured(concurrency=1, delay=1.0) as gateway:
        asking = [asyncio.create_task(gateway.post("/v1/chat/completions", HELLO)) for _ in range(3)]
        await asyncio.sleep(0.5)
        values = await gateway.values()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.sleep(0.2)
        after = await gateway.values()

    assert (values["openkimi_requests_running"], values["openkimi_requests_waiting"]) == (1, 2)
    assert (after["openkimi_requests_running"], after["openkimi_requests_failed_total"]) == (0, 3)
    assert after["openkimi_http_requests_total POST /v1/chat/completions 499"] == 3


async def test_nothing_that_a_caller_wrote_is_a_label(measured: Any) -> None:
    """Neither text nor keys, addresses, ids, models or methods that somebody makes up are in it."""
    server = {"api_keys": [{"name": "ada", "key": KEY}]}
    headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "secretid"}
    async with measured(server=server, headers=headers) as gateway:
        await gateway.post("/v1/chat/completions", {**HELLO, "model": "secretmodel", "user": "secretuser"})
        for path in ("/secretpath", "/v1/models/secretname", "/v1/documents/secretdoc?secretquery=1"):
            async with gateway.http.get(path):
                pass
        async with gateway.http.request("SECRETMETHOD", "/v1/models"):
            pass
        text, values = await gateway.read(), await gateway.values()

    assert "secret" not in text.lower()
    assert "Hello" not in text
    assert KEY not in text
    assert "ada" not in {word for sample in values for word in sample.split()}
    assert values["openkimi_http_requests_total GET none 404"] == 1


async def test_a_key_is_wanted_where_others_are(measured: Any) -> None:
    """Metrics are for who may use the gateway."""
    async with measured(server={"api_keys": [KEY]}) as gateway:
        async with gateway.http.get("/plugins/metrics") as response:
            assert response.status == 401


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_every_metric_is_described(measured: Any, accept: str) -> None:
    """docs/deployment.md names what is told, and nothing else is: no series that says when another began."""
    async with measured() as gateway:
        await gateway.post("/v1/chat/completions", HELLO)
        async with gateway.http.get("/plugins/metrics", headers={"Accept": accept}) as response:
            lines = (await response.text()).splitlines()

    names = {re.split(r"[ {]", line)[0] for line in lines if not line.startswith("#")}
    described = {
        re.sub(r"_(?:bucket|sum|count)$", "", name) for name in names if name.startswith("openkimi_")
    }
    assert len(described) > 15
    assert not [name for name in described if f"`{name}`" not in DEPLOYMENT]


async def test_openmetrics_is_spoken_to_who_asks_for_it(measured: Any) -> None:
    """The format follows the header Accept."""
    async with measured() as gateway:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with gateway.http.get("/plugins/metrics", headers=accept) as response:
            assert response.content_type == "application/openmetrics-text"
            assert (await response.text()).endswith("# EOF\n")


async def test_a_loop_that_is_blocked_shows(measured: Any) -> None:
    """What holds up every request is seen for ten seconds after."""
    async with measured() as gateway:
        await asyncio.sleep(0.1)
        time.sleep(0.9)  # noqa: ASYNC251 - it is the point
        await asyncio.sleep(0.1)

        assert (await gateway.values())["openkimi_event_loop_lateness_seconds"] > 0.2


async def test_it_is_off_unless_it_is_chosen(measured: Any) -> None:
    """Without "enabled" there is no such address."""
    async with measured(enabled=False) as gateway:
        async with gateway.http.get("/plugins/metrics") as response:
            assert response.status == 404


def test_a_missing_package_is_named_with_its_command(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who chose metrics is told what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    engine = KimiEngine(plugins=[held()], llm_config={"type": "held"})
    engine._overrides["plugins"] = {"options": {"metrics": {"enabled": True}}}

    with pytest.raises(PluginError, match=r"pip install 'openkimi\[metrics\]'"):
        create_app(engine)
