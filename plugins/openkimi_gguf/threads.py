"""How many threads suit this machine: shared cores punish llama.cpp's spinning threads.

Threads of one evaluation wait for each other at every step, so the slowest core sets the pace: of cores that
are not alike, as Intel's and Apple's performance and efficiency cores, only the fast ones count.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

MOST_TO_WRITE = 8
MOST_TO_READ = 16
ALIKE = 0.8
"""A core of this share of the highest frequency is a fast one: boosts of equal cores differ by a tenth."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_TOPOLOGY = Path("/sys/devices/system/cpu")
_INTEL_FAST = Path("/sys/devices/cpu_core/cpus")


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
    """Count the fast logical cores that this process may use, a container's quota included."""
    cores = len(_usable()) or os.cpu_count() or 1
    if sys.platform == "darwin":
        cores = min(cores, _of_macos("hw.perflevel0.logicalcpu") or cores)
    return max(1, min(cores, _quota() or cores))


def physical_cores(available: int) -> int:
    """Count physical cores among the available ones; where siblings are unknown, every core counts."""
    if sys.platform == "darwin":
        fast = _of_macos("hw.perflevel0.physicalcpu") or _of_macos("hw.physicalcpu")
        return min(available, fast or available)
    usable = _usable()
    siblings = {number: _read(_cpu(number) / "topology/thread_siblings_list") for number in usable}
    return min(available, count_distinct(siblings.values()) or available)


def fast_among(
    usable: frozenset[int], marked: frozenset[int], frequencies: Mapping[int, int]
) -> frozenset[int]:
    """Choose the cores of the fast kind.

    ``marked`` are those that the system calls fast; where it marks none, ``frequencies`` (the highest of each
    core, in any unit) tell. Where neither says a thing, or no fast core may be used, all count.
    """
    if not marked and frequencies:
        least = max(frequencies.values()) * ALIKE
        marked = frozenset(number for number, highest in frequencies.items() if highest >= least)
    return usable & marked or usable


def numbers_in(text: str) -> frozenset[int]:
    """Read a list of cores as Linux writes it, ``0-7,16``; what is none is empty."""
    found: set[int] = set()
    try:
        for part in filter(None, text.strip().split(",")):
            first, to, last = part.partition("-")
            found.update(range(int(first), int(last if to else first) + 1))
    except ValueError:
        return frozenset()
    return frozenset(found)


def count_distinct(siblings: Iterable[str]) -> int:
    """Count the physical cores of which these are the siblings' lists; 0 if one is unknown."""
    lists = set(siblings)
    return 0 if "" in lists else len(lists)


def _usable() -> frozenset[int]:
    """List the fast ones of the cores that this process may use, nothing where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    usable = frozenset(os.sched_getaffinity(0))
    highest = {number: _read(_cpu(number) / "cpufreq/cpuinfo_max_freq") for number in usable}
    known = all(text.isdecimal() for text in highest.values())
    frequencies = {number: int(text) for number, text in highest.items()} if known else {}
    return fast_among(usable, numbers_in(_read(_INTEL_FAST)), frequencies)


def _cpu(number: int) -> Path:
    return _TOPOLOGY / f"cpu{number}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _of_macos(name: str) -> int | None:
    try:
        done = subprocess.run(  # noqa: S603 - the system's own program
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _quota() -> int | None:
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
