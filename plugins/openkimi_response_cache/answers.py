"""Answers in memory: so many bytes of them, for so long, those that were used last."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from openkimi import Delta

_ENTRY_BYTES = 300
"""About what an entry takes beside the bytes of its answer."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[str | Delta, ...])


class Answers:
    """Keeps answers under keys; ``most_bytes`` bounds their memory, ``seconds`` their age (None: any)."""

    def __init__(
        self, *, most_bytes: int, seconds: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size = 0
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def get(self, key: bytes) -> tuple[Delta, ...] | None:
        """Return an answer as it came, None where there is none that is young enough."""
        known = self._kept.get(key)
        if known is None:
            return None
        kept_at, answer = known
        if self._seconds is not None and self._clock() - kept_at >= self._seconds:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        steps = _decoder.decode(answer)
        return tuple(Delta(content=step) if isinstance(step, str) else step for step in steps)

    def put(self, key: bytes, deltas: Sequence[Delta]) -> None:
        """Keep an answer, unless it alone is larger than all may be."""
        try:
            answer = _encoder.encode([_short(delta) for delta in deltas])
        except UnicodeEncodeError:  # half of a surrogate pair, which a model can write
            return
        if len(answer) + _ENTRY_BYTES > self._most_bytes:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (self._clock(), answer)
        self.size += len(answer) + _ENTRY_BYTES
        while self.size > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Drop all answers."""
        self._kept.clear()
        self.size = 0

    def _drop(self, key: bytes) -> None:
        _, answer = self._kept.pop(key)
        self.size -= len(answer) + _ENTRY_BYTES


def _short(delta: Delta) -> str | Delta:
    """Return the text of a delta that has nothing else: most have not, and it takes a tenth of the bytes."""
    return delta.content if delta == Delta(content=delta.content) else delta
