"""Reads a prompt into a stream, from where the stream already knows it, in slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from openkimi_llama_cpp.context import UNIT, Context, Ending, Stream
from openkimi_llama_cpp.vocabulary import Logits


class Reading:
    """A prompt on its way into a stream; ``known`` tokens of it need not be read.

    A reproducible reading repeats the few tokens whose values could differ in the last bit from those of
    a first reading.
    """

    def __init__(self, context: Context, stream: Stream, tokens: list[int], *, reproducible: bool) -> None:
        self._context = context
        self._stream = stream
        self._tokens = tokens
        self.logits: Logits | None = None
        self.known = usable(stream, tokens, reproducible=reproducible)
        if self.known == len(tokens) and context.forget_from(stream, self.known) == self.known:
            assert stream.ending is not None
            self.logits = stream.ending.logits
            return
        self.known = context.forget_from(stream, min(self.known, len(tokens) - 1))
        self._even = self.known <= stream.even and self.known % UNIT == 0
        stream.even = stream.even // UNIT * UNIT

    def step(self, most: int) -> Logits | None:
        """Read up to ``most`` tokens more, a multiple of 64; return the logits at the end of the prompt.

        Raises:
            Interrupted: the context was told to stop; what was read before this step stays.
            BackendError: llama.cpp failed.
        """
        at, edge = len(self._stream.tokens), len(self._tokens) // UNIT * UNIT
        end = min(at + most, edge) if at < edge else len(self._tokens)
        logits = self._context.decode(self._stream, self._tokens[at:end])
        if self._even:
            self._stream.even = end // UNIT * UNIT
        if end < len(self._tokens):
            return None
        self._stream.ending = Ending(end, logits.copy(), self._even)
        return logits


class Held(Protocol):
    """Tokens that were read, wherever they are kept; ``even`` and ``ending`` are those of a stream."""

    @property
    def tokens(self) -> Sequence[int] | NDArray[np.int32]:
        """The tokens."""

    @property
    def even(self) -> int:
        """How many of them have the values of a first reading."""

    @property
    def ending(self) -> Ending | None:
        """What is known of the end of a prompt."""


H = TypeVar("H", bound=Held)


def best(held: Iterable[H], wanted: list[int], *, reproducible: bool) -> tuple[int, H | None]:
    """Find what saves the most reading of a prompt, with the number of tokens that it saves."""
    found, known = None, 0
    for each in held:
        saved = usable(each, wanted, reproducible=reproducible)
        if saved > known:
            found, known = each, saved
    return known, found


def usable(held: Held, wanted: list[int], *, reproducible: bool) -> int:
    """Count the tokens of a prompt that need not be read again where ``held`` were read."""
    size, ending = len(wanted), held.ending
    common = common_prefix(held.tokens, wanted)
    if common == size and ending is not None and ending.length == size and (ending.even or not reproducible):
        return size
    known = min(common, size - 1)
    return min(known, held.even) // UNIT * UNIT if reproducible else known


def common_prefix(one: Sequence[int] | NDArray[np.int32], other: Sequence[int] | NDArray[np.int32]) -> int:
    """Count the tokens that two sequences begin with alike."""
    shorter = min(len(one), len(other))
    differing = np.flatnonzero(np.asarray(one[:shorter], np.int32) != np.asarray(other[:shorter], np.int32))
    return int(differing[0]) if differing.size else shorter
