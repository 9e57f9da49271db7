"""Tells whether a file has changed, without reading it."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, ...]


def stamp_of(path: str | os.PathLike[str]) -> Stamp | None:
    """Return what changes when the file is written or another takes its place; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
