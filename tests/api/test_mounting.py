"""The chat router inside an application of somebody else's."""

import io
import json
from typing import Any

import aiohttp
from litestar import Litestar, get

from openkimi import KimiEngine
from openkimi.api.routers import create_chat_router
from openkimi.testing import serving

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


@get("/mine")
async def mine() -> str:
    """Answer on a route of the application's own."""
    return "mine"


def engine_of(held: Any) -> KimiEngine:
    return KimiEngine(
        plugins=[held], llm_config={"type": "held"}, rag_config={"type": "held", "embedding_model": "held"}
    )


async def test_the_engine_opens_on_the_first_request(held: Any) -> None:
    """Without a lifespan the router works, opens once, and refuses in OpenAI's shape."""
    plugin = held(reply="Yes.")
    engine = engine_of(plugin)
    app = Litestar(route_handlers=[create_chat_router(engine), mine], logging_config=None)

    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        assert plugin.opened == []
        for _ in range(2):
            async with http.post("/v1/chat/completions", json=HELLO) as response:
                assert (await response.json())["choices"][0]["message"]["content"] == "Yes."
        async with http.post("/v1/chat/completions", json={**HELLO, "n": 0}) as response:
            assert (await response.json())["error"]["param"] == "n"
        async with http.get("/mine") as response:
            assert await response.text() == "mine"
        assert plugin.opened.count("backend") == 1
    await engine.close()

    assert plugin.opened == []


async def test_the_lifespan_opens_and_closes_it_with_the_application(held: Any) -> None:
    """engine.lifespan among the application's lifespans loads the model before the first request."""
    plugin = held()
    engine = engine_of(plugin)
    app = Litestar(
        route_handlers=[create_chat_router(engine)], lifespan=[engine.lifespan], logging_config=None
    )

    async with serving(app):
        assert "backend" in plugin.opened

    assert plugin.opened == []


async def test_bodies_over_ten_megabytes_pass_in_any_application(held: Any) -> None:
    """The router carries its own limit."""
    app = Litestar(route_handlers=[create_chat_router(engine_of(held()))], logging_config=None)
    body = json.dumps({**HELLO, "ignored": "Hello? " * 1_500_000})

    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        async with http.post("/v1/chat/completions", data=io.BytesIO(body.encode())) as response:
            assert response.status == 200


async def test_what_the_application_adds_to_responses_stands_in_ours(held: Any) -> None:
    """Headers and cookies of the application come with the answers of the router."""
    app = Litestar(
        route_handlers=[create_chat_router(engine_of(held()))],
        response_headers={"X-Mine": "yes"},
        response_cookies={"mine": "biscuit"},
        logging_config=None,
    )

    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        async with http.post("/v1/chat/completions", json=HELLO) as response:
            assert response.headers["X-Mine"] == "yes"
            assert response.cookies["mine"].value == "biscuit"
            assert response.content_type == "application/json"
