"""Writes to a connection what is ready at the same time in one go: each write costs as much as much else."""

from __future__ import annotations

import asyncio
from typing import Any

_MOST = 65_536
"""Bytes that are joined at most, so that a client that reads slowly still holds up who writes."""


class Joined:
    """A transport whose writes wait for the end of the event loop's turn.

    Once it is closed, a client has ``patience`` seconds to take what is left.
    """

    def __init__(self, transport: asyncio.Transport, *, patience: float) -> None:
        self._transport = transport
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Write soon, or at once where much has come together."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _MOST:
            self._flush()

    def close(self) -> None:
        """Write what is left and close."""
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(self._patience, self._transport.abort)

    def _flush(self) -> None:
        if self._parts:
            data, self._parts, self._size = b"".join(self._parts), [], 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
