"""The files of a model that is split: ``NAME-00001-of-00003.gguf`` and so on, as llama.cpp names them."""

from __future__ import annotations

import re
from pathlib import Path

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MOST = 1000


def part_names(filename: str) -> tuple[str, ...]:
    """Name all files of the model that a file belongs to, in order; a whole model is one file."""
    match = _PART.fullmatch(filename)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]) <= MOST:
        return (filename,)
    return tuple(
        f"{match['stem']}-{number:05}-of-{match['count']}.gguf"
        for number in range(1, int(match["count"]) + 1)
    )


def model_files(path: Path) -> tuple[Path, ...]:
    """List all files of the model that a file belongs to, the first one first."""
    return tuple(path.with_name(name) for name in part_names(path.name))


def size_of_model(path: Path) -> int:
    """Count the bytes of all files of the model that a file belongs to."""
    return sum(file.stat().st_size for file in model_files(path))
