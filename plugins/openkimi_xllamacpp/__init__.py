"""The backend ``xllamacpp``: GGUF models in llama.cpp's own server engine, in a process beside this one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from openkimi import Backend, Finding, OpenContext, Provider, hookimpl

if TYPE_CHECKING:
    from openkimi_xllamacpp.options import XllamacppOptions


@hookimpl
def register_backends() -> Iterable[Provider[Backend]]:
    """Offer ``xllamacpp``."""
    from openkimi_xllamacpp.options import XllamacppOptions, check

    return [
        Provider(
            "xllamacpp",
            _open,
            XllamacppOptions,
            description="A GGUF model in llama.cpp's server engine, installed without a compiler.",
            check=check,
            diagnose=_diagnose,
        )
    ]


def _diagnose(options: XllamacppOptions) -> Iterable[Finding]:
    from openkimi_gguf.diagnosing import diagnose_gpu, diagnose_model

    yield from diagnose_model(options)
    yield diagnose_gpu(options, _devices, remedy="install a build of xllamacpp for your GPU, see its README")


def _devices() -> list[str]:
    """Name the GPUs that the library sees."""
    from xllamacpp import get_device_info

    return [device["description"] for device in get_device_info() if device["name"] != "CPU"]


def _open(options: XllamacppOptions, context: OpenContext) -> AbstractAsyncContextManager[Backend]:
    from openkimi_xllamacpp.backend import open_backend

    return open_backend(options)
