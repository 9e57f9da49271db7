"""The backend ``xllamacpp``: GGUF models in llama.cpp's own server engine, in a process beside this one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from openkimi import Backend, OpenContext, Provider, hookimpl

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
        )
    ]


def _open(options: XllamacppOptions, context: OpenContext) -> AbstractAsyncContextManager[Backend]:
    from openkimi_xllamacpp.backend import open_backend

    return open_backend(options)
