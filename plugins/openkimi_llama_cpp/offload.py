"""Compares what a model takes on GPUs with the memory that is free there, before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from openkimi import ConfigError
from openkimi_gguf.memory import kv_bytes_per_token
from openkimi_gguf.metadata import MetadataError, read_metadata
from openkimi_gguf.options import GgufOptions
from openkimi_gguf.parts import size_of_model
from openkimi_gguf.placement import ModelOptions
from openkimi_gguf.room import readable
from openkimi_llama_cpp.gpus import Gpu


class Load(NamedTuple):
    """The bytes of a model's ``weights`` and of its ``cache``, and its repeating ``layers``."""

    weights: int
    cache: int
    layers: int

    def of(self, layers: int) -> int:
        """Estimate the bytes of so many layers; the last one that can be offloaded is the output's."""
        offloaded = min(layers, self.layers + 1)
        return (
            self.weights * offloaded // (self.layers + 1)
            + self.cache * min(layers, self.layers) // self.layers
        )


def check_offload(path: Path, options: GgufOptions, layers: int, gpus: Sequence[Gpu]) -> None:
    """Refuse a model whose offloaded layers (-1 for all) and cache cannot fit.

    A model of which too little is known, and GPUs that do not tell what is free, are not refused. What
    computing takes besides is not known beforehand: a model that just fits can still fail.

    Raises:
        ConfigError: a GPU has too little free memory.
    """
    load = load_of(path, options)
    if load is None or not layers or not gpus or not all(gpu.free for gpu in gpus):
        return
    asked = load.layers + 1 if layers == -1 else min(layers, load.layers + 1)
    shares = shares_of(options, gpus)
    if (full := _too_full(load.of(asked), shares, gpus)) is None:
        return
    fewer = next((n for n in range(asked - 1, 0, -1) if _too_full(load.of(n), shares, gpus) is None), 0)
    remedy = f"set llm.n_gpu_layers to {fewer} or less" if fewer else "set llm.device to 'cpu'"
    gpu = gpus[full]
    raise ConfigError(
        f"llm.n_gpu_layers: {asked} layers of the model with their cache take about "
        f"{readable(int(load.of(asked) * shares[full]))} of '{gpu.name}', and {readable(gpu.free)} are free; "
        f"{remedy}, or lower llm.context_length or llm.parallel"
    )


def load_of(path: Path, options: GgufOptions) -> Load | None:
    """Tell what a model takes, from the head of its file; None where that does not say it."""
    try:
        header = read_metadata(path)
    except (MetadataError, OSError, ValueError):
        return None
    architecture = header.get("general.architecture")
    per_token = kv_bytes_per_token(header, options.type_k, options.type_v)
    trained, layers = (header.get(f"{architecture}.{name}") for name in ("context_length", "block_count"))
    if per_token is None or not isinstance(trained, int) or not isinstance(layers, int):
        return None
    cache = per_token * options.window(trained) * (options.parallel or 1)
    return Load(weights=size_of_model(path), cache=cache, layers=layers)


def shares_of(options: ModelOptions, gpus: Sequence[Gpu]) -> list[float]:
    """Tell what part of the offloaded layers each GPU takes, as llama.cpp divides them."""
    if options.split_mode == "none":
        return [float(number == (options.main_gpu or 0)) for number in range(len(gpus))]
    given = options.tensor_split or [gpu.free for gpu in gpus]
    padded = [*given, *[0.0] * len(gpus)][: len(gpus)]
    whole = sum(padded) or 1
    return [share / whole for share in padded]


def _too_full(size: int, shares: Sequence[float], gpus: Sequence[Gpu]) -> int | None:
    """Find the number of a GPU that its part does not fit into."""
    return next(
        (at for at, (share, gpu) in enumerate(zip(shares, gpus, strict=True)) if size * share > gpu.free),
        None,
    )
