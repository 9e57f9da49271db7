"""The GPUs that the installed llama.cpp can use, in its order, with what is free on each."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

# ``enum ggml_backend_dev_type`` of ggml-backend.h.
_GPU, _INTEGRATED = 1, 2


class Gpu(NamedTuple):
    """A GPU and how many bytes of its memory are free."""

    name: str
    free: int


def gpus_of(library: Any) -> list[Gpu]:
    """List what llama.cpp shares a model among: the GPUs, or else one that is built into the processor.

    Nothing is listed where the build has no GPU support, or does not say what it sees.
    """
    if not library.llama_supports_gpu_offload():
        return []
    try:
        devices = _devices()
    except (ImportError, AttributeError):
        return []
    own = [gpu for kind, gpu in devices if kind == _GPU]
    return own or [gpu for kind, gpu in devices if kind == _INTEGRATED][:1]


def _devices() -> list[tuple[int, Gpu]]:
    """Ask ggml for its devices, each with its kind.

    Raises:
        ImportError: this version of llama-cpp-python keeps ggml elsewhere.
        AttributeError: ggml does not export the functions.
    """
    from llama_cpp._ggml import libggml as ggml

    get, name, kind, memory = (
        getattr(ggml, f"ggml_backend_dev_{function}") for function in ("get", "name", "type", "memory")
    )
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    get.argtypes, get.restype = [ctypes.c_size_t], ctypes.c_void_p
    name.argtypes, name.restype = [ctypes.c_void_p], ctypes.c_char_p
    kind.argtypes, kind.restype = [ctypes.c_void_p], ctypes.c_int
    size = ctypes.POINTER(ctypes.c_size_t)
    memory.argtypes, memory.restype = [ctypes.c_void_p, size, size], None
    found = []
    for number in range(ggml.ggml_backend_dev_count()):
        device, free, total = get(number), ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        found.append((kind(device), Gpu((name(device) or b"").decode("utf-8", "replace"), free.value)))
    return found
