"""Reads the documents that the config preloads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from openkimi.documents import Document
from openkimi.errors import ConfigError, UnreadableFile, UnsupportedFile
from openkimi.files.converting import Converter
from openkimi.files.reading import matching, read_file


def preload_paths(patterns: Sequence[str]) -> list[Path]:
    """Resolve file names and globs, in order and without repeats.

    Raises:
        ConfigError: a pattern matches no file.
    """
    paths: dict[Path, None] = {}
    for index, pattern in enumerate(patterns):
        found = matching(pattern)
        if not found:
            raise ConfigError(f"preload[{index}]: no file matches {pattern!r}")
        paths.update(dict.fromkeys(found))
    return list(paths)


async def read_preloads(patterns: Sequence[str]) -> list[Document]:
    """Read every file that the patterns match as a document that is kept under the file's name.

    Raises:
        ConfigError: a pattern matches no file, or a file cannot be read.
    """
    converter = Converter()
    return [await _read(path, converter) for path in await asyncio.to_thread(preload_paths, patterns)]


async def _read(path: Path, converter: Converter) -> Document:
    try:
        text = await converter.text_of(await asyncio.to_thread(read_file, path), name=path.name)
    except (UnreadableFile, UnsupportedFile) as error:
        raise ConfigError(f"preload: {path}: {error.message}") from error
    return await asyncio.to_thread(Document.of, text, name=path.name, kept=True)
