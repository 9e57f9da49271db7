"""The tokens of one evaluation, laid out as llama.cpp reads them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np


class Batch:
    """A ``llama_batch`` of up to ``capacity`` tokens, filled anew for each evaluation."""

    def __init__(self, library: Any, capacity: int) -> None:
        self._token = np.zeros(capacity, np.int32)
        self._position = np.zeros(capacity, np.int32)
        self._owners = np.ones(capacity, np.int32)
        self._stream = np.zeros(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        cell = ctypes.POINTER(ctypes.c_int32)
        address, size = self._stream.ctypes.data, self._stream.itemsize
        self._streams = (cell * capacity)(*(ctypes.cast(address + at * size, cell) for at in range(capacity)))
        self._batch = library.llama_batch(
            token=self._token.ctypes.data_as(cell),
            pos=self._position.ctypes.data_as(cell),
            n_seq_id=self._owners.ctypes.data_as(cell),
            seq_id=self._streams,
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def run(self, tokens: Sequence[int], position: int, stream: int) -> Any:
        """Lay out a run of one stream's tokens; only the last one's logits are wanted."""
        count = len(tokens)
        self._token[:count] = tokens
        self._position[:count] = np.arange(position, position + count)
        self._stream[:count] = stream
        self._wanted[:count] = 0
        self._wanted[count - 1] = 1
        self._batch.n_tokens = count
        return self._batch

    def each(self, steps: Sequence[tuple[int, int, int]]) -> Any:
        """Lay out one token, with its position, of each of several streams; all logits are wanted."""
        count = len(steps)
        self._token[:count], self._position[:count], self._stream[:count] = np.array(steps, np.int32).T
        self._wanted[:count] = 1
        self._batch.n_tokens = count
        return self._batch

    def whole(self, sequences: Sequence[Sequence[int]]) -> Any:
        """Lay out several whole sequences, one stream each from 0 on; all outputs are wanted."""
        lengths = [len(tokens) for tokens in sequences]
        count = sum(lengths)
        self._token[:count] = np.concatenate(sequences)
        self._position[:count] = np.concatenate([np.arange(length) for length in lengths])
        self._stream[:count] = np.repeat(np.arange(len(lengths)), lengths)
        self._wanted[:count] = 1
        self._batch.n_tokens = count
        return self._batch
