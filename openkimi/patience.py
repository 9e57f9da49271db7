"""Waits for a stranger's code, and not for ever."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from openkimi.errors import PluginError

T = TypeVar("T")

START_SECONDS = 60.0
"""How long an import, a hook or a lifespan of a plugin may take."""


def within(seconds: float, work: Callable[[], T], *, what: str) -> T:
    """Call a function in a thread of its own and return what it returns, if that is soon enough.

    Raises:
        PluginError: ``what`` had not come to an end; its thread is left to itself.
        BaseException: whatever the function raised.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            outcome["error"] = error

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name=what)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise PluginError(f"{what} had not come to an end after {seconds:g} s")
    if "error" in outcome:
        raise outcome["error"]
    result: T = outcome["result"]
    return result
