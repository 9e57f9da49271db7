"""Serves an application or a whole gateway on a loopback port, for tests that need a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from openkimi.testing import fakes

if TYPE_CHECKING:
    import uvicorn

_LIGHT = {"embedder": {"type": "hashing"}, "rag": {"type": "in-memory"}}
_GRACE = 5.0
"""How many seconds requests that still run at the end have."""


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application in this event loop and yield its base URL, without a final slash.

    ``options`` are those of ``uvicorn.Config``.
    """
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="on", proxy_headers=False, **options)
        server = await _start(config, listener)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await _stop(server)


async def _start(config: uvicorn.Config, listener: socket.socket) -> uvicorn.Server:
    import uvicorn

    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup([listener])
    except SystemExit:
        raise RuntimeError("the application did not start; its log says why") from None
    await server.on_tick(0)  # makes the headers that every answer has
    return server


async def _stop(server: uvicorn.Server) -> None:
    """Do what uvicorn does at its end, without its waits of tenths of a second: a suite stops many."""
    for listening in server.servers:
        listening.close()
    state = server.server_state
    for connection in list(state.connections):
        connection.shutdown()
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            while state.connections or state.tasks:  # noqa: ASYNC110 - neither tells when it is over
                await asyncio.sleep(0.001)
    for task in state.tasks:
        task.cancel()
    await server.lifespan.shutdown()


@asynccontextmanager
async def gateway(config: Mapping[str, Any], *, plugins: Iterable[object] = ()) -> AsyncIterator[str]:
    """Serve a gateway with what its config.json would say and some plugins, and yield its base URL.

    Where the config names no other kind, embedder and document memory are those of :mod:`fakes`.

    Raises:
        ConfigError: something in the config is wrong.
    """
    from openkimi.api.app import create_app

    light = {name: {**section, **config.get(name, {})} for name, section in _LIGHT.items()}
    with TemporaryDirectory(prefix="openkimi-test-") as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(msgspec.json.encode({**config, **light}))
        async with serving(create_app(path, plugins=[fakes, *plugins])) as url:
            yield url
