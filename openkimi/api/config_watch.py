"""Reloads when a file changes that the config consists of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from openkimi.file_stamp import Stamp, stamp_of
from openkimi.sections import ServerSection

_LOOK_EVERY = 1.0


class ConfigWatch:
    """Looks at the config file and the certificate once a second, where ``server.watch_config`` says so.

    A change counts once it has lasted from one look to the next: nobody reads a file that is half written.
    """

    def __init__(
        self,
        path: str,
        server: Callable[[], ServerSection],
        reload: Callable[[], Coroutine[Any, Any, object]],
    ) -> None:
        self._path = path
        self._server = server
        self._reload = reload

    async def run(self) -> None:
        """Look for ever."""
        known = last = self._look()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            now = self._look()
            is_new = None not in now and now == last != known
            last = now
            if not self._server().watch_config:
                known = now
            elif is_new:
                known = now
                await self._reload()

    def _look(self) -> tuple[Stamp | None, ...]:
        tls = self._server().tls
        files = (self._path,) if tls is None else (self._path, tls.certificate, tls.key)
        return tuple(map(stamp_of, files))
