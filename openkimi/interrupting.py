"""Ends the program without a word when Ctrl-C comes while its modules are still being imported.

Importing takes half a second, in which nothing is open that would have to be closed. It concerns only the
programs of OpenKimi themselves: who imports the package has its own idea of Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

STATUS = 130
"""What a shell reports of a program that Ctrl-C ended."""


def leave_quietly() -> None:
    """Let Ctrl-C end the program at once, where it is one of OpenKimi's, till :func:`raise_again`."""
    if _is_our_program():
        with suppress(ValueError):  # in a thread that signals do not reach
            signal.signal(signal.SIGINT, _leave)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, as Python has it."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(STATUS)


def _is_our_program() -> bool:
    """Tell whether Python was started with ``-m openkimi…``, or with the command ``openkimi``."""
    arguments = sys.orig_argv[1:]
    if "-m" in arguments:
        module = arguments[arguments.index("-m") + 1 :][:1]
        return bool(module) and module[0].partition(".")[0] == "openkimi"
    command = sys.argv[0].replace(os.sep, "/").rpartition("/")[2]
    return command.partition(".")[0] == "openkimi"


leave_quietly()
