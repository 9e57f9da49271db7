"""What a GGUF file says of its model, and how prompts are cut at its markers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from openkimi_gguf.markers import Marker, Markers
from openkimi_gguf.metadata import MetadataError, read_metadata
from openkimi_gguf.models import resolve
from openkimi_gguf.pieces import Piece


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def written(path: Path, *pairs: bytes, version: int = 3) -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + b"".join(pairs))
    return path


def test_values_of_all_kinds(tmp_path: Path) -> None:
    """Numbers, truths, texts and arrays of them are read; a text of half a character does no harm."""
    tokens = struct.pack("<IQ", 8, 2) + text("a") + struct.pack("<Q", 1) + b"\xe4"
    path = written(
        tmp_path / "m.gguf",
        pair("n", 4, struct.pack("<I", 7)),
        pair("x", 6, struct.pack("<f", 0.5)),
        pair("b", 7, b"\x01"),
        pair("s", 8, text("é")),
        pair("t", 9, tokens),
        pair("k", 9, struct.pack("<IQ3i", 5, 3, 1, -2, 3)),
    )

    expected: dict[str, Any] = {"n": 7, "x": 0.5, "b": True, "s": "é", "t": ["a", "�"], "k": [1, -2, 3]}
    assert read_metadata(path) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GGUX" + bytes(40), "no GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "breaks off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair("k", 99, b"\x00" * 8), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "breaks off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair("k", 9, struct.pack("<IQ", 5, 1 << 60)), "breaks off"),
    ],
)
def test_a_damaged_head_is_an_error(tmp_path: Path, data: bytes, said: str) -> None:
    """Whatever is wrong with the head of a file is one error that says it."""
    path = tmp_path / "m.gguf"
    path.write_bytes(data)

    with pytest.raises(MetadataError, match=said):
        read_metadata(path)


@pytest.mark.model
def test_a_real_file() -> None:
    """The default model tells its window, its template and the kinds of its tokens."""
    metadata = read_metadata(resolve("smollm2-135m-instruct"))

    assert metadata["llama.context_length"] == 8192
    assert "<|im_start|>" in metadata["tokenizer.chat_template"]
    assert len(metadata["tokenizer.ggml.tokens"]) == len(metadata["tokenizer.ggml.token_type"]) == 49152


def test_a_prompt_is_cut_at_the_templates_markers() -> None:
    """Markers cut what the template wrote and swallow white space as they say; users' text is one run."""
    markers = Markers({"<a>": Marker(1), "<ab>": Marker(2, rstrip=True), "<m>": Marker(3, lstrip=True)})
    pieces = [Piece("<ab> \nuser: ", True), Piece("x <a> ", False), Piece(" <m>end", True)]

    runs = [(text, marker and marker.id) for text, marker in markers.runs(pieces)]

    assert runs == [("", 2), ("user: x <a>", 3), ("end", None)]
    assert "".join(markers.fragments("x <a> y")) == "x <a> y"
    assert "<a>" not in markers.fragments("x <a> y")
