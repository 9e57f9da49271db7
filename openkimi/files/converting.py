"""Turns a file into the text of a document."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

from openkimi.errors import BackendUnavailable, UnreadableFile, UnsupportedFile
from openkimi.files.decoding import decode
from openkimi.files.formats import Format, format_of

_AT_ONCE = 2
_MOST_WAITING = 16
_SECONDS = 600
_EXTRA = "pip install 'openkimi[files]'"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""What the child gets of the environment: no key is among it."""


class Converter:
    """Converts files, a few at once, each in a process of its own that ends when nobody waits for it."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(at_once, "convert")
        self._most = at_once + _MOST_WAITING
        self._under_way = 0

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
            BackendUnavailable: too many files wait for their conversion.
        """
        found = await asyncio.to_thread(format_of, data, name=name, media_type=media_type)
        refuse_missing(found)
        if found.modules:
            with self._admitted():
                text = await _convert(self._threads, data, found, charset or "")
        else:
            text = await asyncio.to_thread(decode, data, charset)
        if not text.strip():
            raise UnreadableFile("the file has no text")
        return text

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._under_way >= self._most:
            raise BackendUnavailable(f"{_MOST_WAITING} files wait for their conversion: try again later")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def refuse_missing(format: Format) -> None:
    """Refuse a format whose converter is not installed.

    Raises:
        UnsupportedFile: it has the command that installs it.
    """
    if any(importlib.util.find_spec(module) is None for module in format.modules):
        raise UnsupportedFile(f"{format.title} files need a converter that is not installed here: {_EXTRA}")


async def _convert(threads: Executor, data: bytes, format: Format, charset: str) -> str:
    child = _Child([sys.executable, "-P", "-m", "openkimi.files.child", format.title, charset])
    try:
        answer = await asyncio.get_running_loop().run_in_executor(threads, child.run, data)
    finally:
        child.end()
    if not answer:
        raise UnreadableFile(f"the {format.title} file takes too much time or memory to convert: split it")
    text = await asyncio.to_thread(answer[1:].decode)
    if answer.startswith(b"-"):
        raise UnreadableFile(text)
    return text


class _Child:
    """A process that is run in a thread and ended from another.

    The event loop's own way to start one forks with the handlers of all libraries, which can deadlock.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, data: bytes) -> bytes:
        """Give it the data and return what it answers, nothing if it fails or is ended."""
        with self._lock:
            if self._ended:
                return b""
            self._process = subprocess.Popen(  # noqa: S603 - our own Python, and no word of a caller's
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        with self._process as process:
            try:
                answer, _ = process.communicate(data, timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                return b""
        return b"" if process.returncode else answer

    def end(self) -> None:
        """End it, or see to it that it does not begin."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
