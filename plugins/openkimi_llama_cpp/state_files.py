"""Keeps snapshots on disk, so that a prompt that was read need not be read again after a restart.

A file holds a line of JSON with what it was made with, the token ids and llama.cpp's state, and a checksum of
both. Whatever does not fit the running model, or is damaged, is passed over.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from openkimi import ConfigError
from openkimi_gguf.parts import model_files
from openkimi_llama_cpp.context import Ending, Snapshot
from openkimi_llama_cpp.prompt_cache import covers
from openkimi_llama_cpp.reading import best

MAGIC = "openkimi-slot-1"
LONGEST_HEADER = 4096
SECONDS_TO_WRITE = 600

_log = structlog.get_logger("openkimi_llama_cpp")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a file: of ``tokens`` ids and ``size`` bytes of state, with their CRC-32."""

    magic: str
    model: str
    tokens: int
    even: int
    size: int
    checksum: int


class StateFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that fits the model, and the prompt that it saves reading."""

    path: Path
    tokens: NDArray[np.int32]
    even: int
    ending: Ending | None = None


class StateFiles:
    """The files of one folder that fit the model with that fingerprint; ``limit`` bytes for all models.

    One thread may save while another one looks for what is saved.
    """

    def __init__(self, folder: Path, limit: int, model: str) -> None:
        """Look through the folder.

        Raises:
            ConfigError: there can be no such folder.
        """
        self._folder = folder
        self._limit = limit
        self._model = model
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = [path for path, _ in _stats(folder)]
        except OSError as error:
            raise ConfigError(f"llm.slot_save_path: '{folder}' cannot be used: {error.strerror}") from error
        _sweep(folder)
        self._lock = threading.Lock()  # held where the list is changed; it is never changed in place
        self._files = [file for path in paths if (file := self._look(path)) is not None]

    def best(self, tokens: list[int], *, reproducible: bool) -> tuple[int, StateFile | None]:
        """Find the file that saves the most reading, with the number of tokens that it saves."""
        return best(self._files, tokens, reproducible=reproducible)

    def load(self, file: StateFile) -> Snapshot | None:
        """Read a file; one that is gone or damaged is forgotten."""
        try:
            with file.path.open("rb") as stream:
                header = msgspec.json.decode(stream.readline(LONGEST_HEADER), type=Header)
                body = np.fromfile(stream, np.uint8)
            os.utime(file.path)
        except (OSError, msgspec.DecodeError) as error:
            self._drop(file, type(error).__name__)
            return None
        data = body[header.tokens * 4 :]
        if data.size != header.size or zlib.crc32(body.data) != header.checksum:
            self._drop(file, "damaged")
            return None
        return Snapshot(file.tokens, file.even, np.ascontiguousarray(data))

    def has(self, tokens: NDArray[np.int32]) -> bool:
        """Tell whether a file saves nearly all of the reading of these tokens."""
        return any(covers(file.tokens, tokens) for file in self._files)

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, whole or not at all; what cannot be written is logged and passed over."""
        tokens = np.ascontiguousarray(snapshot.tokens, np.int32)
        size = tokens.nbytes + snapshot.data.nbytes
        if size > self._limit or self.has(tokens):
            return
        header = Header(
            magic=MAGIC,
            model=self._model,
            tokens=len(tokens),
            even=snapshot.even,
            size=snapshot.data.nbytes,
            checksum=zlib.crc32(snapshot.data.data, zlib.crc32(tokens.data)),
        )
        name = hashlib.blake2b(self._model.encode() + tokens.tobytes(), digest_size=16).hexdigest()
        path = self._folder / f"{name}.slot"
        try:
            self._make_room(size)
            self._write(path, msgspec.json.encode(header) + b"\n", tokens, snapshot.data)
        except OSError as error:
            _log.warning("slot_not_saved", folder=str(self._folder), reason=error.strerror or str(error))
            return
        superseded = [file.path for file in self._files if covers(tokens, file.tokens)]
        self._change(superseded, StateFile(path=path, tokens=tokens, even=snapshot.even))
        for old in superseded:
            old.unlink(missing_ok=True)
        _log.info("slot_saved", tokens=len(tokens), megabytes=round(size / 1e6, 1))

    def _write(self, path: Path, header: bytes, tokens: NDArray[np.int32], data: NDArray[np.uint8]) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as file:
            try:
                for part in (header, tokens.data, data.data):
                    file.write(part)
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _make_room(self, size: int) -> None:
        """Delete the least recently used files, whatever model they are of, until another one fits."""
        files = [(path, stat.st_size) for path, stat in _stats(self._folder)]
        total = sum(length for _, length in files)
        for path, length in files:
            if total + size <= self._limit:
                return
            path.unlink(missing_ok=True)
            total -= length
            self._change([path])

    def _look(self, path: Path) -> StateFile | None:
        """Read a file's header and token ids; None unless it is this model's."""
        try:
            with path.open("rb") as stream:
                header = msgspec.json.decode(stream.readline(LONGEST_HEADER), type=Header)
                if (header.magic, header.model) != (MAGIC, self._model):
                    _log.debug("slot_of_another_model", path=str(path))
                    return None
                tokens = np.fromfile(stream, np.int32, header.tokens)
        except (OSError, msgspec.DecodeError, ValueError) as error:
            _log.warning("slot_ignored", path=str(path), reason=type(error).__name__)
            return None
        if len(tokens) != header.tokens:
            _log.warning("slot_ignored", path=str(path), reason="damaged")
            return None
        return StateFile(path=path, tokens=tokens, even=header.even)

    def _change(self, gone: Sequence[Path], *new: StateFile) -> None:
        with self._lock:
            self._files = [*(file for file in self._files if file.path not in gone), *new]

    def _drop(self, file: StateFile, reason: str) -> None:
        _log.warning("slot_ignored", path=str(file.path), reason=reason)
        self._change([file.path])
        with suppress(OSError):
            file.path.unlink(missing_ok=True)


def fingerprint(model: Path, *details: object) -> str:
    """Name a model by its files' sizes and samples of their bytes, with whatever else a state depends on.

    Reading gigabytes at each start would take longer than it saves.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in model_files(model):
        size = path.stat().st_size
        digest.update(repr((size, *details)).encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            for at in range(0, size, max(size // 64, 1)):
                file.seek(at)
                digest.update(file.read(1 << 16))
    return digest.hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed left half written; what another one writes now is younger."""
    for path in folder.glob("*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SECONDS_TO_WRITE:
                path.unlink(missing_ok=True)


def _stats(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """List the files with what is known of them, the least recently used one first."""
    found = []
    for path in folder.glob("*.slot"):
        with suppress(OSError):
            found.append((path, path.stat()))
    return sorted(found, key=lambda item: item[1].st_mtime)
