"""Sharing a model among GPUs, with made-up ones: what is refused, what llama.cpp is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from gguf_files import split

from openkimi import Backend, ConfigError, Provider
from openkimi.testing import open_component
from openkimi_gguf.models import resolve
from openkimi_gguf.placement import check_numbers
from openkimi_llama_cpp import offload, weights
from openkimi_llama_cpp import register_backends as llama_cpp
from openkimi_llama_cpp.gpus import Gpu, _devices, gpus_of
from openkimi_llama_cpp.library import load_library
from openkimi_llama_cpp.offload import Load, check_offload, load_of, shares_of
from openkimi_llama_cpp.options import LlamaCppOptions, check
from openkimi_xllamacpp import register_backends as xllamacpp
from openkimi_xllamacpp.options import XllamacppOptions
from openkimi_xllamacpp.settings import settings_for

MIB = 1 << 20
TWO = [Gpu("CUDA0", 60 * MIB), Gpu("CUDA1", 20 * MIB)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"main_gpu": 1}, "llm.main_gpu: every GPU takes some"),
        ({"main_gpu": 0, "split_mode": "layer"}, "llm.main_gpu: every GPU takes some"),
        ({"tensor_split": (1.0, 1.0), "split_mode": "none"}, "llm.tensor_split: with the split_mode 'none'"),
        ({"tensor_split": (0.0, 0.0)}, "llm.tensor_split: no GPU has a share"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], said: str) -> None:
    """What llama.cpp would pass over in silence is refused by name."""
    with pytest.raises(ConfigError, match=f"^{said}"):
        check(LlamaCppOptions(**options))


def test_options_that_go_together() -> None:
    """One GPU of several, and shares of layers or rows, are accepted wherever they are checked."""
    check(LlamaCppOptions(split_mode="none", main_gpu=1))
    check(LlamaCppOptions(split_mode="row", main_gpu=1, tensor_split=(3, 1)))
    check(LlamaCppOptions(tensor_split=(0, 1)))


def test_a_gpu_that_is_not_there() -> None:
    """A number and a share more than there are GPUs are refused."""
    check_numbers(LlamaCppOptions(split_mode="none", main_gpu=1), 2)
    with pytest.raises(ConfigError, match=r"llm\.main_gpu: there is no GPU 1; found: 1, counted from 0"):
        check_numbers(LlamaCppOptions(split_mode="none", main_gpu=1), 1)
    with pytest.raises(ConfigError, match=r"llm\.tensor_split: there are shares for 3 GPUs; found: 2"):
        check_numbers(LlamaCppOptions(tensor_split=(1, 1, 1)), 2)


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, [0.75, 0.25]),
        ({"tensor_split": (1, 1)}, [0.5, 0.5]),
        ({"tensor_split": (2,)}, [1, 0]),
        ({"split_mode": "none"}, [1, 0]),
        ({"split_mode": "none", "main_gpu": 1}, [0, 1]),
    ],
)
def test_the_parts_of_the_gpus(options: dict[str, Any], shares: list[float]) -> None:
    """One GPU has all, or they share as configured, or else by what is free."""
    assert shares_of(LlamaCppOptions(**options), TWO) == shares


def test_what_layers_take() -> None:
    """Layers take their parts of weights and cache; the output's layer has no cache."""
    load = Load(weights=33, cache=64, layers=32)

    assert [load.of(layers) for layers in (0, 1, 16, 32, 33, 99)] == [0, 3, 48, 96, 97, 97]


def test_all_files_of_a_model_are_counted(tmp_path: Path) -> None:
    """The weights of a split model are those of all its files, as for the computer's memory."""
    parts = split(resolve("smollm2-135m-instruct"), tmp_path, "m", 3)

    load = load_of(parts[0], LlamaCppOptions())

    assert load is not None
    assert load.weights == sum(part.stat().st_size for part in parts)


def known(monkeypatch: pytest.MonkeyPatch, load: Load | None) -> None:
    monkeypatch.setattr(offload, "load_of", lambda path, options: load)


def test_a_model_too_large_for_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the GPU that is full, what is free there, and how many layers would fit."""
    known(monkeypatch, Load(weights=99 * MIB, cache=32 * MIB, layers=32))
    path = Path("m.gguf")

    with pytest.raises(ConfigError) as raised:
        check_offload(path, LlamaCppOptions(), -1, TWO)
    assert raised.value.message == (
        "llm.n_gpu_layers: 33 layers of the model with their cache take about 98 MiB of 'CUDA0', and 60 MiB "
        "are free; set llm.n_gpu_layers to 20 or less, or lower llm.context_length or llm.parallel"
    )
    check_offload(path, LlamaCppOptions(), 20, TWO)
    with pytest.raises(ConfigError, match="'CUDA1'.*n_gpu_layers to 10 or less"):
        check_offload(path, LlamaCppOptions(tensor_split=(1, 1)), 30, TWO)
    with pytest.raises(ConfigError, match=r"set llm\.device to 'cpu'"):
        check_offload(path, LlamaCppOptions(), -1, [Gpu("CUDA0", MIB)])


def test_what_is_not_known_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, no layer on one, a GPU that does not say what is free, or an unknown model: nothing is said."""
    path = Path("m.gguf")
    known(monkeypatch, Load(weights=99 * MIB, cache=0, layers=32))
    check_offload(path, LlamaCppOptions(), -1, [])
    check_offload(path, LlamaCppOptions(), 0, [Gpu("CUDA0", 1)])
    check_offload(path, LlamaCppOptions(), -1, [Gpu("CUDA0", 0)])
    known(monkeypatch, None)
    check_offload(path, LlamaCppOptions(), -1, [Gpu("CUDA0", 1)])


def test_a_build_without_gpus_lists_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the build has no GPU support nothing is asked; ggml's own list is read where it has."""
    library = load_library()
    if not library.llama_supports_gpu_offload():
        assert gpus_of(library) == []
    assert any(gpu.free > MIB for _, gpu in _devices())
    monkeypatch.setattr(library, "llama_supports_gpu_offload", lambda: True)
    for kinds, names in (([0], []), ([0, 2, 1, 1], ["g2", "g3"]), ([0, 2, 2], ["g1"])):
        monkeypatch.setattr(
            "openkimi_llama_cpp.gpus._devices",
            lambda kinds=kinds: [(kind, Gpu(f"g{at}", 1)) for at, kind in enumerate(kinds)],
        )
        assert [gpu.name for gpu in gpus_of(library)] == names


def test_llama_cpp_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options reach llama.cpp's parameters, shares as an array with zeros behind them."""
    library = load_library()
    params = library.llama_model_default_params()
    before = params.split_mode
    weights._split(params, LlamaCppOptions(), library)
    assert (params.split_mode, params.main_gpu, bool(params.tensor_split)) == (before, 0, False)

    weights._split(params, LlamaCppOptions(split_mode="row", main_gpu=1, tensor_split=(3, 1)), library)

    assert (params.split_mode, params.main_gpu) == (library.LLAMA_SPLIT_MODE_ROW, 1)
    assert params.tensor_split[: library.llama_max_devices()] == [
        3,
        1,
        *[0] * (library.llama_max_devices() - 2),
    ]


def test_the_other_engine_is_told() -> None:
    """xllamacpp's process gets the same options by llama.cpp's names."""
    options = XllamacppOptions(split_mode="row", main_gpu=1, tensor_split=(3, 1))

    settings = settings_for(Path("m.gguf"), Path("s.sock"), {}, options)
    plain = settings_for(Path("m.gguf"), Path("s.sock"), {}, XllamacppOptions())

    assert (settings.split_mode, settings.main_gpu) == ("LLAMA_SPLIT_MODE_ROW", 1)
    assert settings.tensor_split == (3, 1)
    assert (plain.split_mode, plain.main_gpu, plain.tensor_split) == ("LLAMA_SPLIT_MODE_LAYER", 0, ())


@pytest.mark.model
@pytest.mark.parametrize("register", [llama_cpp, xllamacpp])
async def test_shares_do_no_harm_without_a_gpu(register: Callable[[], Iterable[Provider[Backend]]]) -> None:
    """A config written for GPUs works where there is none."""
    [provider] = register()
    options = {"tensor_split": [3, 1], "split_mode": "layer", "context_length": 512, "parallel": 1}

    async with open_component(provider, **options) as backend:
        assert await backend.count_tokens(["The sea."]) == [3]
