"""Writes GGUF files: the head of one alone, or one in parts as llama.cpp's ``gguf-split`` does."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from openkimi_gguf.metadata import _Reader

ALIGNMENT = 32
_HEAD = struct.Struct("<4sIQQ")
_UINT16, _UINT32, _INT32, _STRING = 2, 4, 5, 8


class _Tensor(NamedTuple):
    info: bytes
    data: bytes


def head_alone(path: Path, architecture: str, **values: int) -> Path:
    """Write a file without tensors; ``values`` are keys of the architecture."""
    keys = [_key("general.architecture", _STRING, _text(architecture))]
    for name, value in values.items():
        keys.append(_key(f"{architecture}.{name}", _UINT32, struct.pack("<I", value)))
    path.write_bytes(_HEAD.pack(b"GGUF", 3, 0, len(keys)) + b"".join(keys))
    return path


def split(model: Path, folder: Path, stem: str, count: int) -> list[Path]:
    """Write a model in so many parts, the keys in the first, the tensors in all, and return their paths."""
    keys, number_of_keys, tensors = _read(model.read_bytes())
    per_part = -(-len(tensors) // count)
    paths = []
    for number in range(count):
        path = folder / f"{stem}-{number + 1:05}-of-{count:05}.gguf"
        part = tensors[number * per_part : (number + 1) * per_part]
        split_keys = (
            _key("split.no", _UINT16, struct.pack("<H", number))
            + _key("split.count", _UINT16, struct.pack("<H", count))
            + _key("split.tensors.count", _INT32, struct.pack("<i", len(tensors)))
        )
        first = number == 0
        head = _HEAD.pack(b"GGUF", 3, len(part), 3 + (number_of_keys if first else 0))
        path.write_bytes(_written(head + (keys if first else b"") + split_keys, part))
        paths.append(path)
    return paths


def _read(content: bytes) -> tuple[bytes, int, list[_Tensor]]:
    _, _, count, number_of_keys = _HEAD.unpack_from(content)
    reader = _Reader(content)  # type: ignore[arg-type]
    reader.metadata()
    keys = content[_HEAD.size : reader._at]
    infos = []
    for _ in range(count):
        start = reader._at
        reader._text()
        for _ in range(reader._number("I")):
            reader._number("Q")
        reader._number("I")
        infos.append((content[start : reader._at], reader._number("Q")))
    base = _aligned(reader._at)
    ends = sorted([offset for _, offset in infos] + [len(content) - base])
    return (
        keys,
        number_of_keys,
        [_Tensor(info, content[base + at : base + ends[ends.index(at) + 1]]) for info, at in infos],
    )


def _written(head: bytes, tensors: list[_Tensor]) -> bytes:
    infos, data = b"", b""
    for tensor in tensors:
        infos += tensor.info + struct.pack("<Q", len(data))
        data += tensor.data + b"\0" * (_aligned(len(tensor.data)) - len(tensor.data))
    start = head + infos
    return start + b"\0" * (_aligned(len(start)) - len(start)) + data


def _key(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
