"""What the model has read so far, and the way to read on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import structlog

from openkimi import BackendError, ConfigError
from openkimi_llama_cpp.interrupt import Interrupt
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.placement import context_params
from openkimi_llama_cpp.vocabulary import Logits

MOST_BY_DEFAULT = 8192
# From this size on llama.cpp computes a prompt the same way whatever the batch, bit for bit (on a CPU).
UNIT = 64

_log = structlog.get_logger("openkimi_llama_cpp")


class Interrupted(Exception):
    """The work was stopped because nobody waits for it any more."""


class Reading(NamedTuple):
    """A prompt that was read, with the logits at its end; ``even`` if a first reading gives the same ones."""

    tokens: list[int]
    logits: Logits
    even: bool


class Context:
    """What the model has read so far, and the way to read on."""

    def __init__(self, library: Any, weights: Any, options: LlamaCppOptions) -> None:
        trained: int = library.llama_model_n_ctx_train(weights)
        wanted = options.context_length or min(trained, MOST_BY_DEFAULT)
        if wanted > trained:
            _log.warning("context_longer_than_trained", context_length=wanted, trained=trained)
        self._library = library
        self.handle = library.llama_init_from_model(weights, context_params(options, library, wanted))
        if not self.handle:
            raise ConfigError(
                f"llm.context_length: no context of {wanted} tokens can be made, most likely for want of "
                "memory; set a smaller one, or a smaller llm.type_k and llm.type_v such as 'q8_0'"
            )
        self.size = min(wanted, int(library.llama_n_ctx(self.handle)))
        self.interrupt = Interrupt()
        self.interrupt.attach(library, self.handle)
        self._memory = library.llama_get_memory(self.handle)
        batch = int(library.llama_n_batch(self.handle))
        self._step = batch // UNIT * UNIT if self.interrupt.native else UNIT
        self._vocabulary_size: int = library.llama_vocab_n_tokens(library.llama_model_get_vocab(weights))
        self._tokens: list[int] = []
        self._even = 0
        self._logits: Logits = np.zeros(0, np.float32)
        self._prompt: Reading | None = None

    def read(self, tokens: list[int], *, reproducible: bool) -> int:
        """Evaluate a prompt, from the first token on that differs from what was read before.

        Returns how many tokens were still known. A reproducible reading repeats the few tokens whose
        values could differ in the last bit from those of a first reading.

        Raises:
            Interrupted: :attr:`interrupt` was set.
            BackendError: llama.cpp failed.
        """
        if self._restore(tokens, reproducible=reproducible):
            return len(tokens)
        known = min(_common_prefix(self._tokens, tokens), len(tokens) - 1)
        if reproducible:
            known = min(known, self._even) // UNIT * UNIT
        known = self._forget_from(known)
        even = known <= self._even and known % UNIT == 0
        self._even = min(self._even, known) // UNIT * UNIT
        for part in self._parts(tokens, known):
            self._decode(part)
        if even:
            self._even = len(tokens) // UNIT * UNIT
        self._prompt = Reading(list(tokens), self._logits.copy(), even)
        return known

    def append(self, token: int) -> None:
        """Evaluate one more token."""
        self._decode((token,))

    @property
    def logits(self) -> Logits:
        """The logits of the token that comes next, of shape ``(vocabulary,)``; valid until then."""
        return self._logits

    def close(self) -> None:
        """Free the context."""
        self._library.llama_free(self.handle)
        self.interrupt.free()

    def _parts(self, tokens: Sequence[int], start: int) -> Iterator[Sequence[int]]:
        edge = max(start, len(tokens) // UNIT * UNIT)
        for at in range(start, edge, self._step):
            yield tokens[at : min(at + self._step, edge)]
        if edge < len(tokens):
            yield tokens[edge:]

    def _decode(self, tokens: Sequence[int]) -> None:
        if self.interrupt.is_set():
            raise Interrupted
        library = self._library
        array = (library.llama_token * len(tokens))(*tokens)
        code = library.llama_decode(self.handle, library.llama_batch_get_one(array, len(tokens)))
        if code == 0:
            self._tokens.extend(tokens)
            logits = library.llama_get_logits_ith(self.handle, -1)
            self._logits = np.ctypeslib.as_array(logits, (self._vocabulary_size,))
            return
        self._forget_from(len(self._tokens) if code == 2 else 0)
        if self.interrupt.is_set():
            raise Interrupted
        raise BackendError(f"llama.cpp could not evaluate {len(tokens)} tokens (code {code})")

    def _restore(self, tokens: list[int], *, reproducible: bool) -> bool:
        """Go back to the end of the last prompt, when it is the same: no token needs to be read."""
        last, size = self._prompt, len(tokens)
        if last is None or last.tokens != tokens or (reproducible and not last.even):
            return False
        if self._tokens[:size] != tokens or self._forget_from(size) != size:
            return False
        self._logits = last.logits
        return True

    def _forget_from(self, position: int) -> int:
        """Forget what was read from a position on; models that cannot forget a part forget it all."""
        if position == 0 or not self._library.llama_memory_seq_rm(self._memory, 0, position, -1):
            self._library.llama_memory_clear(self._memory, True)
            position = 0
        del self._tokens[position:]
        self._even = min(self._even, position)
        return position


def _common_prefix(known: Sequence[int], wanted: Sequence[int]) -> int:
    pairs = zip(known, wanted, strict=False)
    shorter = min(len(known), len(wanted))
    return next((position for position, (a, b) in enumerate(pairs) if a != b), shorter)
