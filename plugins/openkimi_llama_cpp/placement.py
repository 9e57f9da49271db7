"""Where a model runs and how much it may take: layers on a GPU, threads, the format of the cache."""

from __future__ import annotations

from typing import Any

from openkimi import ConfigError
from openkimi_gguf import threads
from openkimi_gguf.available import available_memory
from openkimi_gguf.memory import row_size
from openkimi_gguf.options import KVType
from openkimi_gguf.placement import ModelOptions
from openkimi_llama_cpp.options import LlamaCppOptions

STREAMS = 4
SHARE_OF_MEMORY = 1 / 8
# ``enum ggml_type`` of ggml.h.
GGML_TYPES: dict[KVType, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}


def gpu_layers(options: ModelOptions, library: Any) -> int:
    """Count the layers that go onto the GPU, -1 for all.

    Raises:
        ConfigError: the device is not there.
    """
    offload = bool(library.llama_supports_gpu_offload())
    if options.device in ("cuda", "mps") and not offload:
        flag = "-DGGML_CUDA=on" if options.device == "cuda" else "-DGGML_METAL=on"
        raise ConfigError(
            f"llm.device: '{options.device}' is not there: the installed llama-cpp-python sees no GPU; build "
            f"it for yours with CMAKE_ARGS='{flag}' pip install --force-reinstall --no-cache-dir "
            "llama-cpp-python, or set llm.device to 'cpu'"
        )
    if options.n_gpu_layers is not None:
        return options.n_gpu_layers
    return -1 if offload and options.device != "cpu" else 0


def streams_for(options: LlamaCppOptions, library: Any, weights: Any, size: int) -> int:
    """Choose how many answers are written at once: as configured, or what a part of the memory holds."""
    if options.parallel is not None:
        return options.parallel
    heads = max(int(library.llama_model_n_head(weights)), 1)
    width = library.llama_model_n_embd(weights) // heads * library.llama_model_n_head_kv(weights)
    row = row_size(width, options.type_k) + row_size(width, options.type_v)
    window = size * row * library.llama_model_n_layer(weights)
    return max(1, min(STREAMS, int(available_memory() * SHARE_OF_MEMORY / max(window, 1))))


def context_params(options: LlamaCppOptions, library: Any, size: int, streams: int) -> Any:
    """Describe a context to llama.cpp: ``streams`` of ``size`` tokens, each with a cache of its own."""
    to_read, to_write = threads.defaults()
    params = library.llama_context_default_params()
    params.n_ctx = size * streams
    params.n_seq_max = streams
    params.kv_unified = False
    params.n_batch = params.n_ubatch = min(options.n_batch, size)
    params.n_threads = options.threads or to_write
    params.n_threads_batch = options.threads_batch or to_read
    params.type_k = GGML_TYPES[options.type_k]
    params.type_v = GGML_TYPES[options.type_v]
    params.flash_attn_type = {
        None: library.LLAMA_FLASH_ATTN_TYPE_AUTO,
        True: library.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        False: library.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    }[options.flash_attn]
    return params
