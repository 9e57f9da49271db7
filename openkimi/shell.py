"""What the commands that read documents have in common: their files, their config, their logs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from openkimi.documents import ANONYMOUS
from openkimi.errors import RequestError, UnreadableFile, UnsupportedFile
from openkimi.files.converting import Converter
from openkimi.files.reading import matching, read_file

STDIN = "-"

config_option = click.option(
    "--config",
    "-c",
    metavar="FILE",
    help="The config.json.  [default: $OPENKIMI_CONFIG_PATH, or the built-in defaults]",
)
tenant_option = click.option(
    "--tenant",
    default=ANONYMOUS,
    metavar="NAME",
    help="The name of the API key whose documents these are, where the gateway has keys.",
)


class NamedText(msgspec.Struct, frozen=True, kw_only=True):
    """A file's text, and what the file is called."""

    text: str
    name: str | None


def files_of(patterns: Sequence[str]) -> list[Path | None]:
    """List the files of names and globs, without repeats; None stands for standard input.

    Raises:
        RequestError: a pattern matches no file.
    """
    files: dict[Path | None, None] = {}
    for pattern in patterns:
        found = [None] if pattern == STDIN else matching(pattern)
        if not found:
            raise RequestError(f"{pattern}: no such file")
        files.update(dict.fromkeys(found))
    return list(files)


async def read_text(path: Path | None, converter: Converter) -> NamedText:
    """Read a file, or standard input, as text.

    Raises:
        RequestError: it cannot be read; the message begins with its name.
    """
    name = None if path is None else path.name
    try:
        data = sys.stdin.buffer.read() if path is None else read_file(path)
        return NamedText(text=await converter.text_of(data, name=name), name=name)
    except (UnreadableFile, UnsupportedFile) as error:
        raise RequestError(f"{path or 'standard input'}: {error.message}") from error


def config_path(given: str | None) -> str | None:
    """Return the path of the config: the one that was given, or that of the environment."""
    return given or os.environ.get("OPENKIMI_CONFIG_PATH") or None
