"""The options of the backend over llama.cpp and what is refused before anything is loaded."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openkimi import ConfigError, PluginError
from openkimi.options import convert_options
from openkimi_gguf.threads import available_cores, physical_cores, threads_to_read, threads_to_write
from openkimi_llama_cpp import register_backends
from openkimi_llama_cpp.library import LogSink
from openkimi_llama_cpp.options import LlamaCppOptions, check


def checked(**options: Any) -> None:
    check(convert_options(options, LlamaCppOptions, where="llm"))


def test_the_default_needs_no_options() -> None:
    """Without options the catalogue's default model is chosen, whether or not it is here."""
    checked()
    checked(type_k="q8_0", type_v="q8_0", context_length=256, device="cpu", load_in_8bit=False)


def test_the_kind_and_its_alias() -> None:
    """The plugin offers one kind under both of its names."""
    [provider] = register_backends()

    assert (provider.kind, provider.aliases) == ("llama-cpp", ("local",))


def test_every_option_is_described() -> None:
    """Every option has a description in the schema, for editors and docs."""
    schema = msgspec.json.schema(LlamaCppOptions)["$defs"]["LlamaCppOptions"]

    assert schema["additionalProperties"] is False
    assert all(option.get("description") for option in schema["properties"].values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_path": "no/such.gguf"}, "there is no file 'no/such.gguf'"),
        ({"model_path": "smollm2-135m-instrct"}, "did you mean 'smollm2-135m-instruct'"),
        ({"model_path": "qwen"}, "did you mean 'qwen2.5-0.5b-instruct'"),
        ({"model_path": "zzzz"}, "known models: smollm2-135m-instruct, "),
        ({"model_path": "hf:only/two"}, "hf:owner/repo/file.gguf"),
        ({"model_path": "hf:a/b/model.safetensors"}, "hf:owner/repo/file.gguf"),
        ({"model_path": "."}, "is a folder"),
        ({"model_path": __file__}, "is no GGUF file"),
        ({"load_in_8bit": True}, "Q8_0"),
        ({"load_in_4bit": True}, "Q4_K_M"),
        ({"device": "cpu", "n_gpu_layers": 4}, "llm.n_gpu_layers"),
        ({"context_length": 100}, "llm.context_length: expected int >= 256"),
        ({"api_key": "x"}, "llm.api_key: unknown option"),
        ({"flash_attn": False, "type_v": "q8_0"}, "llm.type_v"),
    ],
)
def test_what_cannot_work_is_one_line(options: dict[str, Any], said: str) -> None:
    """Each wrong option is one line that names it and what to do."""
    with pytest.raises(ConfigError) as raised:
        checked(**options)

    assert said in raised.value.message
    assert raised.value.message.startswith("llm.")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(("platform", "device"), [("linux", "mps"), ("darwin", "cuda")])
def test_a_device_of_another_platform(monkeypatch: pytest.MonkeyPatch, platform: str, device: str) -> None:
    """A device that the platform cannot have is refused by name."""
    monkeypatch.setattr(sys, "platform", platform)

    with pytest.raises(ConfigError, match=r"llm\.device"):
        checked(device=device)


def test_a_missing_library_names_its_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without llama-cpp-python the error is one line with the command that mends it."""
    monkeypatch.setattr(
        "openkimi_llama_cpp.options.find_spec",
        lambda name: None if name == "llama_cpp" else importlib.util.find_spec(name),
    )

    with pytest.raises(PluginError, match=r"pip install 'openkimi\[llama-cpp\]'"):
        checked()


def test_registering_loads_nothing_heavy() -> None:
    """Listing the plugin and checking its options imports neither llama.cpp nor a template engine."""
    code = (
        "import sys; from openkimi_llama_cpp import register_backends; [p] = register_backends();"
        "p.check(p.config()); print(sorted({'llama_cpp', 'jinja2', 'huggingface_hub'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("available", "physical", "expected"), [(1, 1, 1), (2, 2, 1), (4, 2, 1), (8, 8, 4), (64, 32, 8)]
)
def test_few_threads_write(available: int, physical: int, expected: int) -> None:
    """One thread decodes on one or two cores, else half the physical ones, at most eight."""
    assert threads_to_write(available, physical) == expected


def test_all_cores_read() -> None:
    """Prompts are read with every available core, at most sixteen."""
    assert [threads_to_read(cores) for cores in (1, 2, 8, 128)] == [1, 2, 8, 16]
    assert 1 <= physical_cores(available_cores()) <= available_cores()


def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container that may use half a core counts one, whatever the machine has."""
    quota = tmp_path / "cpu.max"
    quota.write_text("50000 100000\n")
    monkeypatch.setattr("openkimi_gguf.threads._QUOTA", quota)

    assert available_cores() == 1


def test_fragments_of_the_log_become_lines() -> None:
    """llama.cpp logs in fragments: they are joined, and the errors remembered."""
    sink = LogSink()

    sink(4, b"model is ", None)
    sink(5, b"broken\nand ", None)
    sink(5, b"small\n", None)
    sink(2, b"fine\n", None)

    assert list(sink.errors) == ["model is broken", "and small"]
