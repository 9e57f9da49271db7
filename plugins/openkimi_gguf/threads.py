"""How many threads suit this machine: shared cores punish llama.cpp's spinning threads."""

from __future__ import annotations

import os
from pathlib import Path

MOST_TO_WRITE = 8
MOST_TO_READ = 16

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_TOPOLOGY = Path("/sys/devices/system/cpu")


def threads_to_write(available: int, physical: int) -> int:
    """Choose the threads that decode: one on one or two cores, else half of the physical ones."""
    if available <= 2:
        return 1
    return max(1, min(physical // 2, MOST_TO_WRITE))


def threads_to_read(available: int) -> int:
    """Choose the threads that evaluate a prompt, which is bound by computation."""
    return max(1, min(available, MOST_TO_READ))


def defaults() -> tuple[int, int]:
    """Return the threads that read and that write on this machine where the config names none."""
    available = available_cores()
    return threads_to_read(available), threads_to_write(available, physical_cores(available))


def available_cores() -> int:
    """Count the logical cores that this process may use, a container's quota included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def physical_cores(available: int) -> int:
    """Count physical cores among the available ones; where siblings are unknown, every core counts."""
    siblings = {path.read_text() for path in _TOPOLOGY.glob("cpu[0-9]*/topology/thread_siblings_list")}
    return min(available, len(siblings) or available)


def _quota() -> int | None:
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
