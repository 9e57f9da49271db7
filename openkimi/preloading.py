"""Reads the documents that the config preloads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from openkimi.documents import Document
from openkimi.errors import ConfigError, RequestError, UnreadableFile, UnsupportedFile
from openkimi.files.converting import Converter, refuse_missing
from openkimi.files.formats import format_of
from openkimi.files.reading import matching, read_file

_HEAD = 4096


def preload_paths(patterns: Sequence[str]) -> dict[Path, str]:
    """Resolve file names and globs, in order and without repeats, each with its place in the config.

    Raises:
        ConfigError: a pattern matches no file, or one of a format that is not read here.
    """
    paths: dict[Path, str] = {}
    for index, pattern in enumerate(patterns):
        found = matching(pattern)
        if not found:
            raise ConfigError(f"preload[{index}]: no file matches {pattern!r}")
        for path in found:
            paths.setdefault(path, f"preload[{index}]")
    for path, place in paths.items():
        try:
            refuse_missing(format_of(read_file(path, _HEAD), name=path.name))
        except (UnreadableFile, UnsupportedFile) as error:
            raise _wrong(place, path, error) from error
    return paths


async def read_preloads(patterns: Sequence[str]) -> list[Document]:
    """Read every file that the patterns match as a document that is kept under the file's name.

    Raises:
        ConfigError: a pattern matches no file, or a file cannot be read.
    """
    converter = Converter()
    paths = await asyncio.to_thread(preload_paths, patterns)
    return [await _read(place, path, converter) for path, place in paths.items()]


async def _read(place: str, path: Path, converter: Converter) -> Document:
    try:
        text = await converter.text_of(await asyncio.to_thread(read_file, path), name=path.name)
    except (UnreadableFile, UnsupportedFile) as error:
        raise _wrong(place, path, error) from error
    return await asyncio.to_thread(Document.of, text, name=path.name, kept=True)


def _wrong(place: str, path: Path, error: RequestError) -> ConfigError:
    return ConfigError(f"{place}: {path}: {error.message}")
