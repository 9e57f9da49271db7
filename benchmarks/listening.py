"""A gateway as a process of its own, on a port that is free."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def listening(config: Path) -> AsyncIterator[tuple[str, int]]:
    """Yield the address and the process's id once everything is loaded; the process ends with the block."""
    command = ("-m", "openkimi.api.server", "--config", str(config), "--port", "0", "--log-level", "error")
    server = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        address = re.search(rb"http://\S+", await server.stdout.readuntil(b"Ctrl-C"))
        assert address is not None
        yield address[0].decode(), server.pid
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()
