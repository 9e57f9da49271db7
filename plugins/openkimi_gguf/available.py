"""How much memory this process can still have, a container's limit included."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = 1 << 62
"""What is told where the system does not say."""

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Tell how many bytes can be had without swapping; pages of files that can be dropped count."""
    if sys.platform == "darwin":
        return _of_macos()
    left = [room for folder in _groups() if (room := _room(folder)) is not None]
    return max(0, min([_meminfo("MemAvailable"), *left]))


def free_swap() -> int:
    """Tell how many bytes of swap are free; :data:`UNKNOWN` where the system makes room by itself."""
    return UNKNOWN if sys.platform == "darwin" else _meminfo("SwapFree")


def _meminfo(field: str) -> int:
    try:
        text = (_PROC / "meminfo").read_text()
    except OSError:
        return UNKNOWN
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else UNKNOWN


def _groups() -> Iterator[Path]:
    """List the folders of the control groups that limit this process, outer ones included."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUP / "memory" if controllers else _CGROUP
        inner = root / name.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))


def _room(folder: Path) -> int | None:
    """Tell what a control group leaves, None if it limits nothing; caches of files can be dropped."""
    for limit, usage, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            statistics = (folder / "memory.stat").read_text()
        except (OSError, ValueError):  # not here, or "max"
            continue
        dropped = rf"^(?:{prefix}(?:in)?active_file|slab_reclaimable) (\d+)$"
        return most - used + sum(map(int, re.findall(dropped, statistics, re.MULTILINE)))
    return None


def _of_macos() -> int:
    """Count the pages that are free or can be made so."""
    try:
        done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return pages_available(done.stdout) or UNKNOWN


def pages_available(vm_stat: str) -> int:
    """Count the bytes in what ``vm_stat`` prints that are free, inactive, speculative or purgeable."""
    size = re.search(r"page size of (\d+) bytes", vm_stat)
    counts = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", vm_stat, re.MULTILINE)
    return sum(map(int, counts)) * (int(size[1]) if size else os.sysconf("SC_PAGE_SIZE"))
