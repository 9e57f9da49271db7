"""Watches the event loop: a plugin that blocks it holds up every request, and is named."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import TracebackType

from openkimi.owning import Owners

BLOCKED_SECONDS = 1.0
"""For how long the loop may stand still before somebody is named for it."""
_BEAT = 0.25
_REMEDY = "run what takes long in a thread: await asyncio.to_thread(...)"


class Watch:
    """Looks from a thread, inside of a ``with``, whether the loop goes on; if not, at what it is doing.

    Only a plugin's code is named. A loop that is late for want of a processor shows nobody's.
    """

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._stop = threading.Event()

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_of_loop = threading.get_ident()
        self._beat()
        self._thread = threading.Thread(target=self._look, daemon=True, name="openkimi-watch")
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        self._last = time.monotonic()
        self._timer = self._loop.call_later(_BEAT, self._beat)

    def _look(self) -> None:
        named = False
        while not self._stop.wait(_BEAT):
            late = time.monotonic() - self._last - _BEAT
            if late < BLOCKED_SECONDS:
                named = False
            elif not named:
                named = True
                self._name(late)

    def _name(self, seconds: float) -> None:
        """Name the plugin whose code the loop is in, the innermost of several."""
        frame = sys._current_frames().get(self._thread_of_loop)  # noqa: SLF001 - there is no other way to look
        frames = []
        while frame is not None:
            frames.append((frame, frame.f_lineno))
            frame = frame.f_back
        what = f"blocked the event loop for more than {seconds:.1f} s"
        self._owners.blame(frames, "event_loop_blocked", what, remedy=_REMEDY)
