"""How much memory this process has, and how what is free of it goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_memory() -> int | None:
    """Tell how many bytes of this process are in memory, those of files that it maps included.

    It blocks for a moment. None where the system does not tell.
    """
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _as_ps_tells()


def give_back() -> None:
    """Free what nothing refers to any more, and give all free memory back to the system; it blocks.

    The C library keeps what was freed for what may come, as far as it lies below something that is in use.
    """
    gc.collect()
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Find glibc's function for it, which other C libraries lack."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    trim.argtypes = [ctypes.c_size_t]
    return trim


def _as_ps_tells() -> int | None:
    """Ask ``ps``, which is everywhere but on Windows."""
    command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)  # noqa: S603
        return int(done.stdout) * 1024
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
