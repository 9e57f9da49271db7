"""The options of the backend, and what can be told of them before a model is opened."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from msgspec import Meta

from openkimi import PluginError, parse_size
from openkimi_gguf.options import GgufOptions, check_common

INSTALL = "pip install 'openkimi[llama-cpp]'"


class LlamaCppOptions(GgufOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``llm`` may hold when its ``type`` is ``llama-cpp`` or ``local``."""

    cont_batching: Annotated[
        bool | None,
        Meta(
            description="Write a token of several answers in one step: quicker on a GPU, but an answer then "
            "depends, in its last bits, on what else is answered; null is on when the model is on a GPU."
        ),
    ] = None
    slot_save_path: Annotated[
        str | None,
        Meta(
            description="A folder for prompts that were read, so that they need not be read again after a "
            "restart; it holds what they say. null keeps none."
        ),
    ] = None
    slot_save_size: Annotated[
        str | int, Meta(description="The most bytes in that folder; the least recently used files go.")
    ] = "2GiB"

    @property
    def slot_save_bytes(self) -> int:
        """The size of ``slot_save_size``.

        Raises:
            ConfigError: it is no size.
        """
        return parse_size(self.slot_save_size, where="llm.slot_save_size")


def check(options: LlamaCppOptions) -> None:
    """Refuse what would fail when the model is opened; nothing is loaded or fetched.

    Raises:
        PluginError: llama-cpp-python is not installed.
        ConfigError: an option that cannot work, or a model that cannot be found.
    """
    _ = options.cache_bytes, options.slot_save_bytes
    if find_spec("llama_cpp") is None:
        raise PluginError(f"llm.type: 'llama-cpp' needs llama-cpp-python, which is not installed: {INSTALL}")
    check_common(options)
