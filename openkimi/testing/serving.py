"""Serves an application or a whole gateway on a loopback port, for tests that need a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from openkimi.testing import fakes

_LIGHT = {"embedder": {"type": "hashing"}, "rag": {"type": "in-memory"}}


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application in this event loop and yield its base URL, without a final slash.

    ``options`` are those of ``uvicorn.Config``.
    """
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_config=None, lifespan="on", proxy_headers=False, timeout_graceful_shutdown=5, **options
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listener]))  # noqa: SLF001 - serve() would take over signals
        try:
            while not server.started:
                if task.done():
                    await task
                    raise RuntimeError("the application did not start; its log says why")
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


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
