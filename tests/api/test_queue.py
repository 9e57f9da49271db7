"""A bounded queue, a deadline, and what is said while the model loads."""

import asyncio
from typing import Any

import aiohttp
import pytest

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.api.loading import loading
from openkimi.testing import serving

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


async def begun(backend: Any, count: int) -> None:
    while len(backend.requests) < count:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_beyond_the_queue_is_refused_at_once(gateway: Any, stream: bool) -> None:
    """One is answered, max_queue wait, the next gets 503 with Retry-After; later there is room again."""
    async with gateway({"max_queue": 1}, reply="Yes.", concurrency=1, delay=0.5) as server:
        waiting = [asyncio.create_task(server.chat(HELLO)) for _ in range(2)]
        await begun(server.backend, 2)
        async with server.http.post("/v1/chat/completions", json={**HELLO, "stream": stream}) as response:
            body = await response.json()
            status, retry_after = response.status, response.headers["Retry-After"]
        answers = await asyncio.gather(*waiting)

        assert (status, body["error"]["type"]) == (503, "server_error")
        assert "max_queue" in body["error"]["message"]
        assert int(retry_after) >= 1
        assert [status for status, _ in answers] == [200, 200]
        assert (await server.chat(HELLO))[0] == 200


async def test_who_leaves_the_queue_makes_room(gateway: Any) -> None:
    """A client that gives up does not go on counting."""
    async with gateway({"max_queue": 0}, reply="Yes.", concurrency=1, delay=30) as server:
        leaving = asyncio.create_task(server.chat(HELLO))
        await begun(server.backend, 1)
        leaving.cancel()
        while server.backend.active:
            await asyncio.sleep(0.01)
        staying = asyncio.create_task(server.chat(HELLO))
        await begun(server.backend, 2)
        refused, _ = await server.chat(HELLO)
        staying.cancel()

        assert refused == 503


async def test_a_request_that_waits_too_long_is_told_to_come_back(gateway: Any) -> None:
    """Nothing of an answer within request_timeout: 503, and the slot is free again."""
    async with gateway({"request_timeout": 0.2}, reply="Yes.", delay=30) as server:
        status, body = await server.chat(HELLO)

        assert status == 503
        assert "request_timeout" in body["error"]["message"]
        assert server.backend.active == 0


async def test_an_answer_that_takes_too_long_ends(gateway: Any) -> None:
    """Begun and not complete within request_timeout: 504, in a stream an error event and no [DONE]."""
    async with gateway({"request_timeout": 0.3}, reply="Yes, and more.", token_delay=0.2) as server:
        status, body = await server.chat(HELLO)
        lines = await server.lines(HELLO)

        assert (status, body["error"]["type"]) == (504, "server_error")
        assert "Yes" in "".join(lines)
        assert "request_timeout" in lines[-1]
        assert server.backend.active == 0


async def test_while_the_model_loads_the_gateway_says_so(held: Any) -> None:
    """Alive, not ready: 503 with Retry-After, until the engine is open."""
    plugin = held(reply="Yes.")
    engine = KimiEngine(
        plugins=[plugin], llm_config={"type": "held"}, rag_config={"type": "held", "embedding_model": "held"}
    )
    opened = asyncio.Event()
    open_engine, release = engine.open, asyncio.Event()

    async def slow_open() -> None:
        await release.wait()
        await open_engine()

    engine.open = slow_open  # type: ignore[method-assign]
    app = create_app(engine, lifespan=loading(engine, lambda error: opened.set()))

    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        for path in ("/health", "/health/ready", "/v1/models"):
            async with http.get(path) as response:
                assert response.status == 503
                assert response.headers["Retry-After"]
                assert (await response.json())["error"]["type"] == "server_error"
        async with http.get("/health/live") as response:
            assert response.status == 200
        async with http.post("/v1/chat/completions", json=HELLO) as response:
            assert response.status == 503
        release.set()
        await opened.wait()
        for path in ("/health", "/health/ready", "/v1/models"):
            async with http.get(path) as response:
                assert response.status == 200
