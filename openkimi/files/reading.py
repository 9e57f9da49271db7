"""Files on this machine, by name and by pattern."""

from __future__ import annotations

import glob
from pathlib import Path

from openkimi.errors import UnreadableFile


def matching(pattern: str) -> list[Path]:
    """List the files of a name or a glob, sorted; a name that exists is no pattern."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns too
    return [path for path in map(Path, matches) if path.is_file()]


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
