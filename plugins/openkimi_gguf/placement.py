"""Which model, and the devices that it runs on: the options of everything that loads a GGUF file."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from openkimi import ConfigError
from openkimi_gguf.models import DEFAULT_MODEL

Device = Literal["auto", "cpu", "cuda", "mps"]
SplitMode = Literal["none", "layer", "row"]


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a section holds that names a GGUF model; devices are named as llama.cpp does."""

    model_path: Annotated[
        str,
        Meta(description="A GGUF file, a name of the catalogue, or hf:owner/repo/file.gguf.", min_length=1),
    ] = DEFAULT_MODEL
    device: Annotated[
        Device, Meta(description="Where the model runs; auto is the GPU when this build can use one.")
    ] = "auto"
    n_gpu_layers: Annotated[
        Annotated[int, Meta(ge=-1)] | None,
        Meta(description="Layers kept on the GPU, -1 for all; null follows device."),
    ] = None
    split_mode: Annotated[
        SplitMode | None,
        Meta(
            description="How several GPUs share the model: none uses one of them, layer gives each some of "
            "the layers, row each a part of every layer; null is layer."
        ),
    ] = None
    main_gpu: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="The number of the GPU that has the whole model with split_mode none, or what cannot "
            "be shared with row; null is 0."
        ),
    ] = None
    tensor_split: Annotated[
        Annotated[tuple[Annotated[float, Meta(ge=0)], ...], Meta(min_length=1, max_length=16)] | None,
        Meta(
            description="The shares of the model that GPUs take, in their order, such as [3, 1]; null goes "
            "by their free memory."
        ),
    ] = None


def check_placement(options: ModelOptions) -> None:
    """Refuse devices that contradict each other or cannot be here; nothing is loaded.

    Raises:
        ConfigError: names the option.
    """
    macos = sys.platform == "darwin"
    if options.device == "mps" and not macos:
        raise ConfigError(
            "llm.device: 'mps' is Apple's GPU and this is not macOS; use 'auto', 'cuda' or 'cpu'"
        )
    if options.device == "cuda" and macos:
        raise ConfigError("llm.device: there is no CUDA on macOS; use 'auto' or 'mps'")
    if options.device == "cpu" and options.n_gpu_layers not in (None, 0):
        raise ConfigError("llm.n_gpu_layers: the device is 'cpu', which has none; remove one of the two")
    _check_split(options)


def check_numbers(options: ModelOptions, gpus: int) -> None:
    """Compare the options with the number of GPUs that are there.

    Raises:
        ConfigError: they name one more.
    """
    if options.main_gpu is not None and options.main_gpu >= gpus:
        raise ConfigError(f"llm.main_gpu: there is no GPU {options.main_gpu}; found: {gpus}, counted from 0")
    if options.tensor_split is not None and len(options.tensor_split) > gpus:
        raise ConfigError(
            f"llm.tensor_split: there are shares for {len(options.tensor_split)} GPUs; found: {gpus}"
        )


def _check_split(options: ModelOptions) -> None:
    if options.main_gpu is not None and options.split_mode not in ("none", "row"):
        raise ConfigError(
            "llm.main_gpu: every GPU takes some of the layers; set llm.split_mode to 'none' to use one only"
        )
    if options.tensor_split is None:
        return
    if options.split_mode == "none":
        raise ConfigError(
            "llm.tensor_split: with the split_mode 'none' one GPU has the whole model; remove one of the two"
        )
    if sum(options.tensor_split) <= 0:
        raise ConfigError("llm.tensor_split: no GPU has a share; give at least one a number above 0")
