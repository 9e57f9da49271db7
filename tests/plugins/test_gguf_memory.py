"""What a model takes in memory, what is there, and what is said when it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from openkimi import ConfigError
from openkimi_gguf import available, room
from openkimi_gguf.available import UNKNOWN, available_memory, free_swap, pages_available
from openkimi_gguf.memory import kv_bytes_per_token
from openkimi_gguf.metadata import read_metadata
from openkimi_gguf.models import resolve
from openkimi_gguf.options import GgufOptions
from openkimi_gguf.room import fits
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions

MIB = 1 << 20


def header(architecture: str = "llama", **values: Any) -> dict[str, Any]:
    known = {
        "block_count": 2,
        "context_length": 4096,
        "embedding_length": 256,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        **{name.replace("__", "."): value for name, value in values.items()},
    }
    return {
        "general.architecture": architecture,
        **{f"{architecture}.{name}": value for name, value in known.items() if value is not None},
    }


@pytest.mark.parametrize(
    ("head", "types", "expected"),
    [
        (header(), ("f16", "f16"), 2 * (2 * 64 * 2 * 2)),
        (header(), ("q8_0", "f32"), 2 * (4 * 34 + 2 * 64 * 4)),
        (header(attention__head_count_kv=None), ("f16", "f16"), 2 * (4 * 64 * 2 * 2)),
        (header(attention__head_count_kv=[2, 0]), ("f16", "f16"), 2 * 64 * 2 * 2),
        (header(attention__key_length=128), ("f16", "f16"), 2 * (2 * 128 * 2 + 2 * 64 * 2)),
        (header("mamba"), ("f16", "f16"), None),
        (header("deepseek2"), ("f16", "f16"), None),
        (header(block_count=None), ("f16", "f16"), None),
        (header(attention__head_count=[4, 4]), ("f16", "f16"), None),
        ({}, ("f16", "f16"), None),
    ],
)
def test_what_a_token_takes(head: dict[str, Any], types: tuple[str, str], expected: int | None) -> None:
    """A token takes a row of keys and one of values per layer; of models unlike that nothing is said."""
    assert kv_bytes_per_token(head, *types) == expected


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, group: str) -> None:
    """Pretend that ``/proc`` says this, and that control groups lie in the folder."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text("MemAvailable:   1024 kB\nSwapFree:   2 kB\n")
    (folder / "proc/self/cgroup").write_text(group)
    monkeypatch.setattr(available, "_PROC", folder / "proc")
    monkeypatch.setattr(available, "_CGROUP", folder / "cgroup")
    monkeypatch.setattr("sys.platform", "linux")


def group_of(folder: Path, place: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / "cgroup" / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_machines_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without limits it is what the kernel calls available, and a group without one changes nothing."""
    machine(monkeypatch, tmp_path, "0::/a\n")
    group_of(tmp_path, "a", {"memory.max": "max\n", "memory.current": "5\n", "memory.stat": ""})

    assert (available_memory(), free_swap()) == (1024 * 1024, 2048)


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tightest group counts, the outer ones included; what it keeps of files can be dropped."""
    machine(monkeypatch, tmp_path, "0::/a/b\n")
    stat = "anon 5\nactive_file 30\ninactive_file 20\nslab_reclaimable 4\n"
    group_of(tmp_path, "a", {"memory.max": "900\n", "memory.current": "100\n", "memory.stat": stat})
    group_of(tmp_path, "a/b", {"memory.max": "5000\n", "memory.current": "100\n", "memory.stat": ""})

    assert available_memory() == 900 - 100 + 30 + 20 + 4


def test_a_limit_of_the_older_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Version 1 of control groups is read too, and a folder that is not visible here is passed over."""
    machine(monkeypatch, tmp_path, "7:cpu:/x\n6:memory:/not/here\n")
    group_of(
        tmp_path,
        "memory",
        {
            "memory.limit_in_bytes": "700\n",
            "memory.usage_in_bytes": "200\n",
            "memory.stat": "active_file 1\ntotal_active_file 10\ntotal_inactive_file 5\n",
        },
    )

    assert available_memory() == 700 - 200 + 15


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing is known nothing is refused; what macOS prints is counted in its own pages."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(available, "_PROC", tmp_path)

    assert available_memory() == UNKNOWN
    assert pages_available("(page size of 16384 bytes)\nPages free: 3.\nPages active: 9.\n") == 3 * 16384


def memory(monkeypatch: pytest.MonkeyPatch, free: int, head: dict[str, Any], swap: int = 0) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: free)
    monkeypatch.setattr(room, "free_swap", lambda: swap)
    monkeypatch.setattr(room, "read_metadata", lambda path: head)


def test_a_cache_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what is needed, what is there, and which options to set to what."""
    memory(monkeypatch, 3 * MIB, header())  # 1 KiB a token

    with pytest.raises(ConfigError) as raised:
        fits(Path(__file__), GgufOptions(parallel=2), 2)

    assert raised.value.message == (
        "llm.context_length: the cache of 4096 tokens for each of 2 answers at once takes 8 MiB of memory, "
        "and 3 MiB are free; set llm.context_length to 1536 or less"
    )
    with pytest.raises(ConfigError, match=r"or set llm\.parallel to 2 or less or set llm\.type_k .* 'q8_0'"):
        fits(Path(__file__), GgufOptions(parallel=4, context_length=1280), 4)
    assert fits(Path(__file__), GgufOptions(parallel=2, context_length=1280), 2)


def test_what_is_proposed_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly what is free may be used, and one byte more may not; swap counts."""
    memory(monkeypatch, 4 * MIB - 1, header())
    with pytest.raises(ConfigError, match="to 3840 or less"):
        fits(Path(__file__), GgufOptions(), 1)

    memory(monkeypatch, 4 * MIB - 1, header(), swap=1)
    assert not fits(Path(__file__), GgufOptions(), 1)


def test_weights_larger_than_memory_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights can be read from the file again: there is a warning, and the model is loaded."""
    memory(monkeypatch, 4 * MIB, header())

    with capture_logs() as logs:
        assert not fits(Path(__file__), GgufOptions(), 1)

    assert [line["event"] for line in logs] == ["memory_is_short"]
    assert logs[0]["cache"] == "4 MiB"


def test_all_parts_of_a_model_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The weights of a split model are those of all its files."""
    for number in (1, 2, 3):
        (tmp_path / f"big-0000{number}-of-00003.gguf").write_bytes(bytes(MIB))

    with capture_logs() as logs:
        memory(monkeypatch, 7 * MIB, header())
        assert fits(tmp_path / "big-00001-of-00003.gguf", GgufOptions(), 1)
        memory(monkeypatch, 7 * MIB - 1, header())
        assert not fits(tmp_path / "big-00001-of-00003.gguf", GgufOptions(), 1)

    assert logs[0]["weights"] == "3 MiB"


def test_an_unknown_model_is_not_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a model unlike the known ones, and of a file that is none, nothing is said."""
    damaged = tmp_path / "m.gguf"
    damaged.write_bytes(b"")
    assert fits(damaged, GgufOptions(), 1)
    assert fits(tmp_path / "none.gguf", GgufOptions(), 1)

    memory(monkeypatch, 0, header("mamba"))
    assert fits(damaged, GgufOptions(), 1)


@pytest.mark.model
@pytest.mark.parametrize(("type", "expected"), [("f16", 23_040), ("q8_0", 12_240)])
def test_a_real_model_takes_what_was_told(type: str, expected: int) -> None:
    """llama.cpp's own state of a full window is as large as estimated, but for a few bytes a token."""
    path = resolve("smollm2-135m-instruct")
    assert kv_bytes_per_token(read_metadata(path), type, type) == expected
    model = Model(path, LlamaCppOptions(type_k=type, type_v=type, context_length=512, parallel=1))
    try:
        [stream] = model.context.streams
        model.context.decode(stream, [1] * 256)
        snapshot = model.context.snapshot(stream)
    finally:
        model.close()

    assert snapshot is not None
    assert 256 * expected <= snapshot.data.size <= 256 * (expected + 32) + 4096


@pytest.mark.model
def test_a_real_model_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model with a window too large for memory is refused, and loads with a smaller one."""
    path = resolve("smollm2-135m-instruct")
    monkeypatch.setattr(room, "available_memory", lambda: 100 * MIB)
    monkeypatch.setattr(room, "free_swap", lambda: 0)

    with pytest.raises(ConfigError, match=r"180 MiB of memory, and 100 MiB are free; set .* to 4352 or less"):
        Model(path, LlamaCppOptions(device="cpu"))
    Model(path, LlamaCppOptions(device="cpu", context_length=512, parallel=1)).close()
