"""Turns a file into the text of a document."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys

from openkimi.errors import UnreadableFile, UnsupportedFile
from openkimi.files.decoding import decode
from openkimi.files.formats import Format, format_of

_AT_ONCE = 2
_EXTRA = "pip install 'openkimi[files]'"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""What the child gets of the environment: no key is among it."""


class Converter:
    """Converts files, a few at once, each in a process of its own that ends when nobody waits for it."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._room = asyncio.Semaphore(at_once)

    async def text_of(
        self,
        data: bytes,
        *,
        name: str | None = None,
        media_type: str | None = None,
        charset: str | None = None,
    ) -> str:
        """Return a file's text: Markdown and plain text as they are, other formats as Markdown.

        Raises:
            UnsupportedFile: the format is not read here, or an extra is missing.
            UnreadableFile: the file is damaged, encrypted, empty or too large to convert.
        """
        found = await asyncio.to_thread(format_of, data, name=name, media_type=media_type)
        refuse_missing(found)
        if found.modules:
            async with self._room:
                text = await _convert(data, found, charset or "")
        else:
            text = await asyncio.to_thread(decode, data, charset)
        if not text.strip():
            raise UnreadableFile("the file has no text")
        return text


def refuse_missing(format: Format) -> None:
    """Refuse a format whose converter is not installed.

    Raises:
        UnsupportedFile: it has the command that installs it.
    """
    if any(importlib.util.find_spec(module) is None for module in format.modules):
        raise UnsupportedFile(f"{format.title} files need a converter that is not installed here: {_EXTRA}")


async def _convert(data: bytes, format: Format, charset: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "openkimi.files.child", format.title, charset),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
    )
    try:
        answer, _ = await child.communicate(data)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode or not answer:
        raise UnreadableFile(f"the {format.title} file takes too much time or memory to convert: split it")
    text = await asyncio.to_thread(answer[1:].decode)
    if answer.startswith(b"-"):
        raise UnreadableFile(text)
    return text


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
