"""Loads a model's weights onto the devices that the options name."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from openkimi import ConfigError
from openkimi_gguf.placement import ModelOptions, check_numbers
from openkimi_llama_cpp.gpus import gpus_of
from openkimi_llama_cpp.library import sink
from openkimi_llama_cpp.placement import gpu_layers


def load_weights(library: Any, path: Path, options: ModelOptions, *, repack: bool) -> Any:
    """Load a model, to be freed with ``llama_model_free``.

    ``repack`` lets llama.cpp make a copy of weights on the CPU in the order that suits the processor, which
    cannot be dropped like the file's own pages.

    Raises:
        ConfigError: the file is no model that llama.cpp can read, or a device is not there.
    """
    params = library.llama_model_default_params()
    params.n_gpu_layers = gpu_layers(options, library)
    params.use_extra_bufts = repack
    no_devices = (ctypes.c_void_p * 1)(None)
    if options.device == "cpu":
        params.devices = ctypes.addressof(no_devices)
    _split(params, options, library)
    sink.errors.clear()
    weights = library.llama_model_load_from_file(str(path).encode(), params)
    if not weights:
        reason = next(iter(sink.errors), "llama.cpp gives no reason")
        raise ConfigError(f"llm.model_path: '{path}' is damaged or of a kind llama.cpp cannot read: {reason}")
    return weights


def _split(params: Any, options: ModelOptions, library: Any) -> None:
    """Describe to llama.cpp how GPUs share the model.

    Raises:
        ConfigError: a GPU that is not there.
    """
    if gpus := gpus_of(library):
        check_numbers(options, len(gpus))
    if options.split_mode is not None:
        params.split_mode = getattr(library, f"LLAMA_SPLIT_MODE_{options.split_mode.upper()}")
    if options.main_gpu is not None:
        params.main_gpu = options.main_gpu
    if options.tensor_split is not None:
        # llama.cpp reads as many shares as there could be devices.
        shares = (ctypes.c_float * max(library.llama_max_devices(), len(options.tensor_split)))()
        shares[: len(options.tensor_split)] = options.tensor_split
        params.tensor_split = shares
