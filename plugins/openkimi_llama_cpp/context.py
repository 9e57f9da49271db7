"""What the model has read so far, in several streams, and the ways to read on and to go back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from openkimi import BackendError, ConfigError
from openkimi_llama_cpp.batch import Batch
from openkimi_llama_cpp.interrupt import Interrupt
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.placement import context_params, streams_for
from openkimi_llama_cpp.vocabulary import Logits

# From this size on llama.cpp computes a prompt the same way whatever the batch, bit for bit (on a CPU).
UNIT = 64

_log = structlog.get_logger("openkimi_llama_cpp")


class Interrupted(Exception):
    """The work was stopped because nobody waits for it any more."""


class Ending(NamedTuple):
    """The logits after a prompt of ``length`` tokens; ``even`` if a first reading gives the same ones."""

    length: int
    logits: Logits
    even: bool


class Snapshot(NamedTuple):
    """What a stream held at one time: its tokens, and llama.cpp's state of them."""

    tokens: NDArray[np.int32]
    even: int
    data: NDArray[np.uint8]
    ending: Ending | None = None


class Stream:
    """One sequence of tokens in the context.

    The first ``even`` of its ``tokens`` have the values of a first reading, to the last bit. ``ending``
    belongs to the last prompt that was read, and to no other tokens than the present ones.
    """

    def __init__(self, id: int) -> None:
        self.id = id
        self.tokens: list[int] = []
        self.even = 0
        self.ending: Ending | None = None


class Context:
    """The memory of a loaded model: streams of ``size`` tokens each that know nothing of one another.

    Each stream has a cache of its own (``kv_unified`` off), so that what a stream computes does not depend,
    to the last bit, on what else is there.
    """

    def __init__(self, library: Any, weights: Any, options: LlamaCppOptions) -> None:
        """Make the context.

        Raises:
            ConfigError: memory does not suffice.
        """
        trained: int = library.llama_model_n_ctx_train(weights)
        wanted = options.window(trained)
        if wanted > trained:
            _log.warning("context_longer_than_trained", context_length=wanted, trained=trained)
        streams = streams_for(options, library, weights, wanted)
        self._library = library
        self.handle = library.llama_init_from_model(
            weights, context_params(options, library, wanted, streams)
        )
        if not self.handle:
            raise ConfigError(
                f"llm.context_length: no context of {wanted} tokens for {streams} answers at once can be "
                "had, most likely for want of memory; lower it or llm.parallel, or set a smaller llm.type_k "
                "and llm.type_v such as 'q8_0'"
            )
        self.size = min(wanted, int(library.llama_n_ctx_seq(self.handle)))
        self.interrupt = Interrupt()
        self.interrupt.attach(library, self.handle)
        self.most_at_once = int(library.llama_n_batch(self.handle)) // UNIT * UNIT
        self.streams = tuple(map(Stream, range(streams)))
        self._memory = library.llama_get_memory(self.handle)
        self._batch = Batch(library, int(library.llama_n_batch(self.handle)))
        self._vocabulary_size: int = library.llama_vocab_n_tokens(library.llama_model_get_vocab(weights))

    def decode(self, stream: Stream, tokens: Sequence[int]) -> Logits:
        """Evaluate more tokens of a stream; the logits after the last one are valid until the next call.

        Raises:
            Interrupted: :attr:`interrupt` was set; the stream is as it was.
            BackendError: llama.cpp failed.
        """
        self._run(self._batch.run(tokens, len(stream.tokens), stream.id), [stream], len(tokens))
        stream.tokens.extend(tokens)
        return self._logits(-1)

    def decode_each(self, streams: Sequence[Stream], tokens: Sequence[int]) -> list[Logits]:
        """Evaluate one more token of each of several streams at once, with the errors of :meth:`decode`."""
        steps = [
            (token, len(stream.tokens), stream.id) for token, stream in zip(tokens, streams, strict=True)
        ]
        self._run(self._batch.each(steps), streams, len(steps))
        for token, stream in zip(tokens, streams, strict=True):
            stream.tokens.append(token)
        return [self._logits(at) for at in range(len(steps))]

    def forget_from(self, stream: Stream, position: int) -> int:
        """Forget a stream's tokens from a position on; models that cannot forget a part forget it all."""
        library = self._library
        if position == 0 or not library.llama_memory_seq_rm(self._memory, stream.id, position, -1):
            library.llama_memory_seq_rm(self._memory, stream.id, -1, -1)
            position = 0
        del stream.tokens[position:]
        stream.even = min(stream.even, position)
        if stream.ending is not None and stream.ending.length > position:
            stream.ending = None
        return position

    def snapshot(self, stream: Stream) -> Snapshot | None:
        """Copy what a stream holds; None where llama.cpp cannot."""
        size = int(self._library.llama_state_seq_get_size(self.handle, stream.id))
        data = np.empty(size, np.uint8)
        written = self._library.llama_state_seq_get_data(self.handle, _bytes(data), size, stream.id)
        if not size or written != size:
            return None
        return Snapshot(np.array(stream.tokens, np.int32), stream.even, data, stream.ending)

    def restore(self, stream: Stream, snapshot: Snapshot) -> bool:
        """Let a stream hold what another one did; when llama.cpp refuses, it is empty."""
        self.forget_from(stream, 0)
        data = snapshot.data
        read = self._library.llama_state_seq_set_data(self.handle, _bytes(data), data.size, stream.id)
        if read != data.size:
            self.forget_from(stream, 0)
            return False
        stream.tokens = snapshot.tokens.tolist()
        stream.even, stream.ending = snapshot.even, snapshot.ending
        return True

    def close(self) -> None:
        """Free the context."""
        self._library.llama_free(self.handle)
        self.interrupt.free()

    def _run(self, batch: Any, streams: Sequence[Stream], count: int) -> None:
        if self.interrupt.is_set():
            raise Interrupted
        code = self._library.llama_decode(self.handle, batch)
        if code == 0:
            return
        for stream in streams:
            self.forget_from(stream, len(stream.tokens) if code == 2 else 0)
        if code == 2:
            raise Interrupted
        raise BackendError(f"llama.cpp could not evaluate {count} tokens (code {code})")

    def _logits(self, at: int) -> Logits:
        logits = self._library.llama_get_logits_ith(self.handle, at)
        return np.ctypeslib.as_array(logits, (self._vocabulary_size,))


def _bytes(data: NDArray[np.uint8]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
