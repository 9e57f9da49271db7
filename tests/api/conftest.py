"""A running gateway over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.api.protocol import Protocol
from openkimi.testing import serving


class Gateway:
    """A gateway under test: its plugin with the scripted backend, and a client that knows its address."""

    def __init__(self, plugin: Any, url: str, http: aiohttp.ClientSession) -> None:
        self.plugin, self.url, self.http = plugin, url, http
        self.backend = plugin.backend

    async def chat(self, body: Any, **options: Any) -> tuple[int, Any]:
        async with self.http.post("/v1/chat/completions", json=body, **options) as response:
            return response.status, await response.json()

    async def lines(self, body: Any) -> list[str]:
        """Return the events of a streamed answer."""
        async with self.http.post("/v1/chat/completions", json={**body, "stream": True}) as response:
            assert response.status == 200
            return (await response.text()).removesuffix("\n\n").split("\n\n")


@pytest.fixture
def gateway(held: Any) -> Any:
    """Make a running gateway: ``async with gateway(reply="yes") as server``."""

    @asynccontextmanager
    async def start(server: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Gateway]:
        plugin = held(**options)
        engine = KimiEngine(
            plugins=[plugin],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
        )
        engine._overrides["server"] = server or {}
        app = create_app(engine)
        async with serving(app, http=Protocol, ws="none") as url, aiohttp.ClientSession(url) as http:
            yield Gateway(plugin, url, http)

    return start
