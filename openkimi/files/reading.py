"""Files on this machine, by name and by pattern."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from openkimi.errors import UnreadableFile


def matching(pattern: str) -> list[Path]:
    """List the files of a name or a glob, sorted; a name that exists is no pattern."""
    if is_file(pattern):
        return [Path(pattern)]
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns too
    return [path for path in map(Path, matches) if path.is_file()]


def is_file(name: str) -> bool:
    """Tell whether a name is that of a file, also of what is too long to be one."""
    return os.path.isfile(name)  # noqa: PTH113 - Path.is_file raises an error for a long name


def is_directory(name: str) -> bool:
    """Tell whether a name is that of a directory."""
    return os.path.isdir(name)  # noqa: PTH112 - as above


def read_file(path: Path, most: int = -1) -> bytes:
    """Read a file, or its first bytes.

    Raises:
        UnreadableFile: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
