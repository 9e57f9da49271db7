"""Reads what a GGUF file says of its model, without an engine.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openkimi_gguf.models import MAGIC

Metadata = Mapping[str, Any]

_STRING, _ARRAY = 8, 9
# The numbers of ``enum gguf_metadata_value_type``, as struct writes them.
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class MetadataError(Exception):
    """The file is no GGUF, or it is damaged."""


def read_metadata(path: Path) -> Metadata:
    """Read the keys and values at the head of a file; arrays become lists.

    Raises:
        MetadataError: the head is damaged, or of a version that is not known.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Reader(data).metadata()
        except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
            raise MetadataError(f"its head breaks off or is damaged ({type(error).__name__})") from error


class _Reader:
    """Reads values one after the other, all of them little-endian."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def metadata(self) -> dict[str, Any]:
        if self._take(len(MAGIC)) != MAGIC:
            raise MetadataError("it is no GGUF file")
        version = self._number("I")
        if version not in (2, 3):
            raise MetadataError(f"it is of GGUF's version {version}, and 2 and 3 are known")
        self._number("Q")  # how many tensors there are
        return {self._text(): self._value(self._number("I")) for _ in range(self._number("Q"))}

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array()
        return self._number(_FORMATS[kind])

    def _array(self) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if kind not in _FORMATS:
            return [self._value(kind) for _ in range(count)]
        layout = f"<{count}{_FORMATS[kind]}"
        return list(struct.unpack(layout, self._take(struct.calcsize(layout))))

    def _number(self, format: str) -> Any:
        layout = f"<{format}"
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _text(self) -> str:
        # The pieces of some vocabularies are no whole characters.
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise IndexError
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken
