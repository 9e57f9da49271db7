"""A flag that stops llama.cpp in the middle of a batch."""

from __future__ import annotations

import ctypes
from typing import Any


class _InitParams(ctypes.Structure):
    """``struct ggml_init_params`` of ggml.h."""

    _fields_ = (
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


class Interrupt:
    """A flag that a computation checks; setting it is safe from any thread.

    llama.cpp asks its abort callback after every node of the graph. A callback in Python would wait for
    the interpreter lock each time, so the callback is ggml's own getter of a bool and the flag is that
    bool, on an otherwise unused ggml context. Where the getter cannot be reached, :attr:`native` is
    False and the flag is looked at between batches only.
    """

    def __init__(self) -> None:
        self._set = False
        self._ggml: Any = None
        self._flag: Any = None

    @property
    def native(self) -> bool:
        """Whether a running batch stops too, on backends that ask (the CPU does)."""
        return self._flag is not None

    def attach(self, library: Any, context: Any) -> None:
        """Make a llama context stop when the flag is set."""
        try:
            from llama_cpp._ggml import libggml as ggml

            init, getter = ggml.ggml_init, ggml.ggml_get_no_alloc
            ggml.ggml_set_no_alloc.argtypes = [ctypes.c_void_p, ctypes.c_bool]
            ggml.ggml_set_no_alloc.restype = ggml.ggml_free.restype = None
            ggml.ggml_free.argtypes = [ctypes.c_void_p]
        except (ImportError, AttributeError):
            return
        init.argtypes, init.restype = [_InitParams], ctypes.c_void_p
        self._ggml, self._flag = ggml, init(_InitParams(1024, None, False))
        callback = ctypes.cast(getter, library.ggml_abort_callback)
        library.llama_set_abort_callback(context, callback, self._flag)

    def is_set(self) -> bool:
        """Tell whether the work should stop."""
        return self._set

    def set(self) -> None:
        """Ask the work to stop."""
        self._change(to=True)

    def clear(self) -> None:
        """Let the next piece of work run."""
        self._change(to=False)

    def free(self) -> None:
        """Give the native flag back, once no context asks for it any more."""
        if self._flag is not None:
            self._ggml.ggml_free(self._flag)
            self._flag = None

    def _change(self, *, to: bool) -> None:
        self._set = to
        if (flag := self._flag) is not None:
            self._ggml.ggml_set_no_alloc(flag, to)
