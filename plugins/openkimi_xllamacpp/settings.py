"""What the engine's process is told, made of the options and of what the model's file says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from openkimi_gguf import threads
from openkimi_gguf.metadata import Metadata
from openkimi_gguf.options import MOST_BY_DEFAULT
from openkimi_gguf.room import BOUNDLESS, Room
from openkimi_xllamacpp.options import XllamacppOptions

# llama.cpp's own words for "as many layers as fit" and "all of them".
_AS_MANY_AS_FIT, _ALL = -1, -2
# Calls that are not answers: counting, looking whether a slot is free, and clients that left a moment ago.
_OTHER_CALLS = 12

_log = structlog.get_logger("openkimi_xllamacpp")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's settings, each named as in xllamacpp's ``CommonParams`` where it has one.

    ``too_large`` says why the model does not fit into the computer's memory, and ``memory_is_short`` that it
    does barely, which the engine heeds where it finds no GPU.
    """

    model: str
    hostname: str
    n_ctx: int
    n_parallel: int
    n_batch: int
    n_gpu_layers: int
    split_mode: str
    main_gpu: int
    tensor_split: tuple[float, ...]
    n_threads: int
    n_threads_batch: int
    n_threads_http: int
    cache_ram_mib: int
    cache_type_k: str
    cache_type_v: str
    flash_attn_type: str
    needs_gpu: bool
    cpu_only: bool
    too_large: str = ""
    memory_is_short: bool = False

    @property
    def window(self) -> int:
        """The tokens that a slot has for prompt and answer."""
        return self.n_ctx // self.n_parallel


def settings_for(
    path: Path, socket: Path, metadata: Metadata, options: XllamacppOptions, room: Room = BOUNDLESS
) -> Settings:
    """Choose the settings for a model that listens on a socket."""
    to_read, to_write = threads.defaults()
    window = _window(metadata, options)
    return Settings(
        model=str(path),
        hostname=str(socket),
        n_ctx=window * options.slots,
        n_parallel=options.slots,
        n_batch=min(options.n_batch, window),
        n_gpu_layers=_gpu_layers(options),
        split_mode=f"LLAMA_SPLIT_MODE_{(options.split_mode or 'layer').upper()}",
        main_gpu=options.main_gpu or 0,
        tensor_split=options.tensor_split or (),
        n_threads=options.threads or to_write,
        n_threads_batch=options.threads_batch or to_read,
        n_threads_http=2 * options.slots + _OTHER_CALLS,
        cache_ram_mib=options.cache_mib,
        cache_type_k=f"GGML_TYPE_{options.type_k.upper()}",
        cache_type_v=f"GGML_TYPE_{options.type_v.upper()}",
        flash_attn_type="LLAMA_FLASH_ATTN_TYPE_"
        + {None: "AUTO", True: "ENABLED", False: "DISABLED"}[options.flash_attn],
        needs_gpu=options.device in ("cuda", "mps"),
        cpu_only=options.device == "cpu",
        too_large=room.refusal,
        memory_is_short=room.short,
    )


def _window(metadata: Metadata, options: XllamacppOptions) -> int:
    architecture = metadata.get("general.architecture", "")
    trained = int(metadata.get(f"{architecture}.context_length", MOST_BY_DEFAULT))
    wanted = options.window(trained)
    if wanted > trained:
        _log.warning("context_longer_than_trained", context_length=wanted, trained=trained)
    return wanted


def _gpu_layers(options: XllamacppOptions) -> int:
    if options.device == "cpu":
        return 0
    if options.n_gpu_layers is None:
        return _AS_MANY_AS_FIT
    return _ALL if options.n_gpu_layers == -1 else options.n_gpu_layers
