"""The options of the backend, and what can be told of them before a model is opened."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Annotated

from msgspec import Meta

from openkimi import ConfigError, PluginError
from openkimi_gguf.options import GgufOptions, check_common
from openkimi_gguf.placement import Device

INSTALL = "pip install 'openkimi[xllamacpp]'"


class XllamacppOptions(GgufOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``llm`` may hold when its ``type`` is ``xllamacpp``; names and meanings as for ``llama-cpp``."""

    device: Annotated[
        Device, Meta(description="Where the model runs; auto is the GPU when the wheel can use one.")
    ] = "auto"
    n_gpu_layers: Annotated[
        Annotated[int, Meta(ge=-1)] | None,
        Meta(description="Layers kept on the GPU, -1 for all; null is as many as its memory holds."),
    ] = None
    parallel: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | None,
        Meta(description="Answers written at the same time, each with a window of its own; null is 4."),
    ] = None

    @property
    def slots(self) -> int:
        """How many answers are written at the same time."""
        return self.parallel or 4

    @property
    def cache_mib(self) -> int:
        """The size of ``cache_ram`` in the unit of llama.cpp, MiB.

        Raises:
            ConfigError: it is no size.
        """
        size = self.cache_bytes
        return max(1, size >> 20) if size else 0


def check(options: XllamacppOptions) -> None:
    """Refuse what would fail when the model is opened; nothing is loaded or fetched.

    Raises:
        PluginError: xllamacpp is not installed.
        ConfigError: an option that cannot work, or a model that cannot be found.
    """
    _ = options.cache_mib
    if find_spec("xllamacpp") is None:
        raise PluginError(f"llm.type: 'xllamacpp' needs xllamacpp, which is not installed: {INSTALL}")
    if sys.platform == "win32":
        raise ConfigError("llm.type: 'xllamacpp' runs on Linux and macOS; use 'llama-cpp' here")
    check_common(options)
