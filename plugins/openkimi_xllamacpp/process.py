"""Starts and ends the process that holds the engine; its log goes to ours, at debug level."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import msgspec
import structlog

from openkimi_xllamacpp.settings import Settings

# A path of a socket has at most 104 bytes on macOS.
_LONGEST_FOLDER = 70
_ERROR = re.compile(r"[\d.]+ E (?P<text>.*)")
_PROGRAM = Path(__file__).with_name("child.py")
_NO_CONTEXT = ("create context", "create_context", "initialize the context")

_log = structlog.get_logger("openkimi_xllamacpp")


class EngineFailed(Exception):
    """The engine did not come up; ``kind`` is ``device``, ``memory``, ``context``, ``model`` or ``died``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Folder:
    """A folder for the engine's socket that only this user may enter; no port of the network is bound."""

    def __init__(self) -> None:
        usual = tempfile.gettempdir()
        self._path = Path(
            tempfile.mkdtemp(prefix="openkimi-", dir="/tmp" if len(usual) > _LONGEST_FOLDER else usual)  # noqa: S108
        )
        self.socket = self._path / "engine.sock"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


class EngineProcess:
    """A process with a loaded model in it, run from a thread; it ends with this one, however this one ends.

    An engine in a process of its own can neither abort the gateway nor take its signals, holds no lock of
    the gateway's interpreter while it loads, and does not share ggml with another engine. ``on_gpu`` tells
    where the model is once it is loaded.
    """

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=20)
        self._lock = threading.Lock()
        self._ended = False
        self.on_gpu = False
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def start(self, settings: Settings) -> None:
        """Start the engine and wait until it listens; blocks.

        Raises:
            EngineFailed: it did not come up.
        """
        with self._lock:
            if self._ended:
                raise EngineFailed("died", "was ended")
            process = self._process = self._spawn()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(settings) + b"\n")
            process.stdin.flush()
        answer = process.stdout.readline().decode().strip()
        self.on_gpu = answer == "+gpu"
        if not answer.startswith("+"):
            raise self._failed(process.wait(), answer[1:])

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        process = self._process
        return process is not None and process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for the process to be gone, no longer than that; blocks."""
        if (process := self._process) is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)

    def end(self) -> None:
        """End the process, whatever it does; blocks until it is gone."""
        with self._lock:
            self._ended = True
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert self._reader is not None
        self._reader.join()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - our own program
            # Run as a file: importing the package would load the whole of openkimi there.
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A waiting OpenMP thread that spins slows decoding tenfold on shared cores.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            start_new_session=True,
        )
        self._reader = threading.Thread(
            target=self._read_log, args=(process.stderr,), name="xllamacpp-log", daemon=True
        )
        self._reader.start()
        return process

    def _failed(self, code: int, kind: str) -> EngineFailed:
        assert self._reader is not None
        self._reader.join()
        if not kind:
            return EngineFailed("died", _ending(code))
        lost = any(words in line for line in self._errors for words in _NO_CONTEXT)
        reason = self._errors[0] if self._errors else "llama.cpp gives no reason"
        return EngineFailed("context" if lost else kind, reason)

    def _read_log(self, stderr: IO[bytes]) -> None:
        with stderr:
            for data in stderr:
                line = data.decode("utf-8", "replace").strip()
                if match := _ERROR.fullmatch(line):
                    self._errors.append(match["text"].strip())
                if line:
                    _log.debug("xllamacpp", line=line)


def explained(error: EngineFailed, settings: Settings) -> str:
    """Say what option the failure of an engine is about, and what to do."""
    if error.kind == "device":
        return (
            "llm.device: the installed xllamacpp sees no GPU; install its wheel for yours, as "
            "https://github.com/xorbitsai/xllamacpp says, or set llm.device to 'cpu'"
        )
    if error.kind == "memory":
        return settings.too_large
    if error.kind == "context":
        return (
            f"llm.context_length: no {settings.n_parallel} contexts of {settings.window} tokens can be "
            "made, most likely for want of memory; set a smaller one, a smaller llm.parallel, or a smaller "
            "llm.type_k and llm.type_v such as 'q8_0'"
        )
    if error.kind == "died":
        return f"llm.model_path: the engine {error.reason} while it loaded '{settings.model}'"
    return f"llm.model_path: '{settings.model}' is damaged or of a kind llama.cpp cannot read: {error.reason}"


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, most likely for want of memory (a smaller llm.context_length takes less),"
    if code == -signal.SIGILL:
        return "uses instructions that this processor lacks (AVX2 on x86-64)"
    return f"ended with signal {-code}" if code < 0 else f"ended with status {code}"
