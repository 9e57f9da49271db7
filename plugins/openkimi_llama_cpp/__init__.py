"""The backend ``llama-cpp``: GGUF models inside this process, through llama-cpp-python; and its commands."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from openkimi import Backend, Finding, OpenContext, Provider, hookimpl

if TYPE_CHECKING:
    import click

    from openkimi_llama_cpp.options import LlamaCppOptions

_GPU_REMEDY = (
    "build llama-cpp-python for it: CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-deps "
    "--no-binary llama-cpp-python llama-cpp-python"
)


@hookimpl
def register_backends() -> Iterable[Provider[Backend]]:
    """Offer ``llama-cpp``, also known as ``local``."""
    from openkimi_llama_cpp.options import LlamaCppOptions, check

    return [
        Provider(
            "llama-cpp",
            _open,
            LlamaCppOptions,
            aliases=("local",),
            description="A GGUF model inside this process, on CPU or GPU (llama.cpp).",
            check=check,
            diagnose=_diagnose,
        )
    ]


@hookimpl
def register_commands() -> Iterable[click.Command]:
    """Offer ``openkimi models`` and ``openkimi bench``."""
    from openkimi_gguf.command import models
    from openkimi_llama_cpp.command import bench

    return [models, bench]


def _diagnose(options: LlamaCppOptions) -> Iterable[Finding]:
    from openkimi_gguf.diagnosing import diagnose_gpu, diagnose_model
    from openkimi_llama_cpp.library import load_library

    def devices() -> list[str]:
        return ["llama.cpp is built for one"] if load_library().llama_supports_gpu_offload() else []

    yield from diagnose_model(options)
    yield diagnose_gpu(options, devices, remedy=_GPU_REMEDY)


def _open(options: LlamaCppOptions, context: OpenContext) -> AbstractAsyncContextManager[Backend]:
    from openkimi_llama_cpp.backend import open_backend

    return open_backend(options)
