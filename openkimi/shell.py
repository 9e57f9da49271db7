"""What the commands have in common: their config, and the files that they read."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from openkimi.access import key_names
from openkimi.documents import ANONYMOUS
from openkimi.errors import RequestError, UnreadableFile, UnsupportedFile
from openkimi.files.converting import Converter
from openkimi.files.reading import is_directory, matching, read_file
from openkimi.sections import ServerSection

STDIN = "-"

Command = Callable[..., None]
_DEFAULTS = ", or the built-in defaults"

tenant_option = click.option(
    "--tenant",
    metavar="NAME",
    help="The name of the API key whose documents these are; required where the config has keys.",
)


def config_option(command: Command, *, otherwise: str = _DEFAULTS) -> Command:
    """Let a command take its config as an option; ``otherwise`` tells of what comes after the environment."""
    told = f"The config.json.  [default: $OPENKIMI_CONFIG_PATH{otherwise}]"
    return click.option("--config", "-c", metavar="FILE", help=told)(command)


def takes_config(command: Command, *, otherwise: str = _DEFAULTS) -> Command:
    """Let a command without other arguments take its config as the argument, too."""

    @wraps(command)
    def taking(argument: str | None, config: str | None, **others: Any) -> None:
        if argument is not None and config is not None:
            given = f"'{argument}', and '{config}' with --config"
            raise click.UsageError(f"two configs: {given}; give one of them")
        command(config=config if argument is None else argument, **others)

    argument = click.argument("argument", required=False, metavar="[CONFIG]")
    return argument(config_option(taking, otherwise=otherwise))


class NamedText(msgspec.Struct, frozen=True, kw_only=True):
    """A file's text, and what the file is called."""

    text: str
    name: str | None


def tenant_of(server: ServerSection, given: str | None) -> str:
    """Return whose documents are meant: those of the key that was named, or of all while there are no keys.

    Raises:
        RequestError: the config has keys, and none was named, or one that it does not have.
    """
    if not server.needs_key:
        return given or ANONYMOUS
    names = key_names(server)
    if given in names:
        return given
    what = "name the API key whose documents these are" if given is None else f"no API key is named '{given}'"
    raise RequestError(f"--tenant: {what}; the config has {', '.join(names) or 'none'}")


def files_of(pattern: str) -> Sequence[Path | None]:
    """List the files of a name or a glob; None stands for standard input.

    Raises:
        RequestError: there is none.
    """
    found = (None,) if pattern == STDIN else matching(pattern)
    if found:
        return found
    if is_directory(pattern):
        inside = Path(pattern) / "*.txt"
        raise RequestError(f"{pattern}: is a directory; name its files, or give a pattern like '{inside}'")
    raise RequestError(f"{pattern}: no such file")


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


def wrapped(line: str, stream: TextIO, *, indent: str) -> str:
    """Break a long line between words for a terminal; what a program or a file is to have stays one line."""
    if not stream.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
