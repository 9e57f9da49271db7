"""What SIGHUP means: read the config anew, as servers do, or the end of the terminal, as programs have it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


def on_hangup(reload: Callable[[], None]) -> None:
    """Call ``reload`` in the event loop at each SIGHUP.

    A terminal that closes ends its gateway, as SIGTERM does, unless ``nohup`` started it. Windows has no such
    signal.
    """
    if not hasattr(signal, "SIGHUP"):
        return
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or not _has_terminal()

    def hung_up() -> None:
        if stays or _has_terminal():
            reload()
        else:
            signal.raise_signal(signal.SIGTERM)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    """Tell whether the process has a terminal that it can be controlled from."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
