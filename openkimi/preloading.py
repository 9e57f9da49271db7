"""Reads the documents that the config preloads."""

from __future__ import annotations

import asyncio
import glob
from collections.abc import Sequence
from pathlib import Path

from openkimi.errors import ConfigError


def preload_paths(patterns: Sequence[str]) -> list[Path]:
    """Resolve file names and globs, in order and without repeats.

    Raises:
        ConfigError: a pattern matches no file.
    """
    paths: dict[Path, None] = {}
    for index, pattern in enumerate(patterns):
        matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns too
        found = [path for path in map(Path, matches) if path.is_file()]
        if not found:
            raise ConfigError(f"preload[{index}]: no file matches {pattern!r}")
        paths.update(dict.fromkeys(found))
    return list(paths)


async def read_preloads(patterns: Sequence[str]) -> list[str]:
    """Read the UTF-8 text of every file that the patterns match.

    Raises:
        ConfigError: a pattern matches no file, or a file is no UTF-8 text.
    """
    return await asyncio.to_thread(lambda: [_read(path) for path in preload_paths(patterns)])


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"preload: {path} is not UTF-8 text (byte {error.start}); convert it first"
        ) from error
    except OSError as error:
        raise ConfigError(f"preload: {path} cannot be read: {error.strerror}") from error
