"""``llama-cpp``: GGUF models inside this process, through llama-cpp-python, that answer and that embed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from openkimi import Backend, Embedder, Finding, OpenContext, Provider, hookimpl

if TYPE_CHECKING:
    import click

    from openkimi_llama_cpp.embedder_options import LlamaCppEmbedderOptions
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
def register_embedders() -> Iterable[Provider[Embedder]]:
    """Offer ``llama-cpp``."""
    from openkimi_llama_cpp.embedder_options import LlamaCppEmbedderOptions, check_embedder

    return [
        Provider(
            "llama-cpp",
            _open_embedder,
            LlamaCppEmbedderOptions,
            description="A GGUF embedding model inside this process, on CPU or GPU (llama.cpp).",
            check=check_embedder,
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
    from openkimi_llama_cpp.gpus import gpus_of
    from openkimi_llama_cpp.library import load_library

    def devices() -> list[str]:
        return [f"{gpu.name}, {gpu.free / 1e6:.0f} MB free" for gpu in gpus_of(load_library())]

    yield from diagnose_model(options)
    yield diagnose_gpu(options, devices, remedy=_GPU_REMEDY)


def _open(options: LlamaCppOptions, context: OpenContext) -> AbstractAsyncContextManager[Backend]:
    from openkimi_llama_cpp.backend import open_backend

    return open_backend(options)


def _open_embedder(
    options: LlamaCppEmbedderOptions, context: OpenContext
) -> AbstractAsyncContextManager[Embedder]:
    from openkimi_llama_cpp.embedder import open_embedder

    return open_embedder(options)
