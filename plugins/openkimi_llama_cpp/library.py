"""Loads llama.cpp once, quietly: its log goes to ours, at debug level."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections import deque
from typing import Any

import structlog

from openkimi import PluginError

# ``enum ggml_log_level`` of ggml.h.
DEBUG, ERROR, CONTINUED = 1, 4, 5

_log = structlog.get_logger("openkimi_llama_cpp")
_lock = threading.Lock()
_library: Any = None


class LogSink:
    """Joins the fragments that llama.cpp logs into lines and remembers the last errors."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=4)
        self._line = ""
        self._level = 0

    def __call__(self, level: int, text: bytes | None, _data: object) -> None:
        """Take one fragment; llama.cpp calls this from any of its threads."""
        if level != CONTINUED:
            self._level = level
        if self._level == DEBUG:
            return
        self._line += (text or b"").decode("utf-8", "replace")
        *lines, self._line = self._line.split("\n")
        for line in filter(None, map(str.strip, lines)):
            if self._level == ERROR:
                self.errors.append(line)
            _log.debug("llama_cpp", line=line)


sink = LogSink()


def load_library() -> Any:
    """Import llama_cpp on first use and hand out its low-level functions.

    Raises:
        PluginError: it is not installed, or its shared library does not load.
    """
    global _library  # noqa: PLW0603
    with _lock:
        if _library is None:
            _library = _load()
        return _library


def _load() -> Any:
    # A waiting OpenMP thread that spins slows decoding tenfold on shared cores. Read once, at loading.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise PluginError(
            f"llama-cpp-python cannot be loaded: {error}; pip install --force-reinstall llama-cpp-python"
        ) from error
    callback = llama_cpp.llama_log_callback(sink)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    # Holds the callback for as long as the interpreter lives, and lets go of it before it ends.
    atexit.register(_silence, llama_cpp, callback)
    llama_cpp.llama_backend_init()
    return llama_cpp


def _silence(llama_cpp: Any, callback: Any) -> None:
    llama_cpp.llama_log_set(llama_cpp.llama_log_callback(0), ctypes.c_void_p(0))
    # The package never closes these itself, which Python reports where warnings are shown.
    for name in ("outnull_file", "errnull_file"):
        if (file := getattr(llama_cpp._utils, name, None)) is not None:  # noqa: SLF001
            file.close()
