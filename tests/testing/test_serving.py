"""How the test kit starts and stops a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from litestar import Litestar, get

from openkimi.testing import serving


async def test_a_request_that_runs_at_the_end_is_answered() -> None:
    """A server that is stopped takes no further request, and finishes what it began."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    @get("/")
    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    async with aiohttp.ClientSession() as http:

        async def ask(url: str) -> str:
            async with http.get(url) as response:
                return await response.text()

        async with serving(Litestar([slow], logging_config=None)) as url:
            asked = asyncio.create_task(ask(url))
            await begun.wait()
            asyncio.get_running_loop().call_later(0.05, go_on.set)

        assert await asked == "done"
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(url)


async def test_an_application_that_does_not_start_is_an_error() -> None:
    """What fails in a lifespan is an exception of the test, and does not end the process."""

    @asynccontextmanager
    async def broken(app: Litestar) -> AsyncIterator[None]:
        raise OSError("the disk is gone")
        yield

    with pytest.raises(RuntimeError, match="did not start"):
        async with serving(Litestar([], lifespan=[broken], logging_config=None)):
            pass
