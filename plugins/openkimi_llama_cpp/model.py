"""A model's weights and the context that evaluates tokens with them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from openkimi import BackendError, ConfigError
from openkimi_llama_cpp import threads
from openkimi_llama_cpp.interrupt import Interrupt
from openkimi_llama_cpp.library import load_library, sink
from openkimi_llama_cpp.options import KVType, LlamaCppOptions
from openkimi_llama_cpp.vocabulary import Vocabulary

MOST_BY_DEFAULT = 8192
# From this size on llama.cpp computes a prompt the same way whatever the batch, bit for bit (on a CPU).
UNIT = 64
# ``enum ggml_type`` of ggml.h.
GGML_TYPES: dict[KVType, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}

_log = structlog.get_logger("openkimi_llama_cpp")


Logits = NDArray[np.float32]


class Interrupted(Exception):
    """The work was stopped because nobody waits for it any more."""


class Model:
    """A loaded GGUF model with one context; not to be used by two threads at once, but for its vocabulary."""

    def __init__(self, path: Path, options: LlamaCppOptions) -> None:
        """Load the model and make its context.

        Raises:
            ConfigError: the file is no model that llama.cpp can read, the device is not there, or memory
                does not suffice.
        """
        self.library = load_library()
        self._weights = self._load(path, options)
        template = self.library.llama_model_chat_template(self._weights, None)
        self.template: str | None = template.decode("utf-8", "replace") if template else None
        self.vocabulary = Vocabulary(self.library, self._weights, self.template or "")
        self.parameters: int = self.library.llama_model_n_params(self._weights)
        try:
            self.context = Context(self.library, self._weights, options)
        except BaseException:
            self.library.llama_model_free(self._weights)
            raise

    def close(self) -> None:
        """Free the context and the weights."""
        if self._weights is not None:
            self.context.close()
            self.library.llama_model_free(self._weights)
            self._weights = None

    def _load(self, path: Path, options: LlamaCppOptions) -> Any:
        library = self.library
        params = library.llama_model_default_params()
        params.n_gpu_layers = _gpu_layers(options, library)
        no_devices = (ctypes.c_void_p * 1)(None)
        if options.device == "cpu":
            params.devices = ctypes.addressof(no_devices)
        sink.errors.clear()
        weights = library.llama_model_load_from_file(str(path).encode(), params)
        if not weights:
            reason = next(iter(sink.errors), "llama.cpp gives no reason")
            raise ConfigError(
                f"llm.model_path: '{path}' is damaged or of a kind llama.cpp cannot read: {reason}"
            )
        return weights


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
        self.handle = library.llama_init_from_model(weights, _context_params(options, library, wanted))
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


def _gpu_layers(options: LlamaCppOptions, library: Any) -> int:
    offload = bool(library.llama_supports_gpu_offload())
    if options.device in ("cuda", "mps") and not offload:
        flag = "-DGGML_CUDA=on" if options.device == "cuda" else "-DGGML_METAL=on"
        raise ConfigError(
            f"llm.device: '{options.device}' is not there: the installed llama-cpp-python sees no GPU; build "
            f"it for yours with CMAKE_ARGS='{flag}' pip install --force-reinstall --no-cache-dir "
            "llama-cpp-python, or set llm.device to 'cpu'"
        )
    if options.n_gpu_layers is not None:
        return options.n_gpu_layers
    return -1 if offload and options.device != "cpu" else 0


def _context_params(options: LlamaCppOptions, library: Any, size: int) -> Any:
    available = threads.available_cores()
    params = library.llama_context_default_params()
    params.n_ctx = size
    params.n_batch = params.n_ubatch = min(options.n_batch, size)
    params.n_threads = options.threads or threads.threads_to_write(
        available, threads.physical_cores(available)
    )
    params.n_threads_batch = options.threads_batch or threads.threads_to_read(available)
    params.type_k = GGML_TYPES[options.type_k]
    params.type_v = GGML_TYPES[options.type_v]
    params.flash_attn_type = {
        None: library.LLAMA_FLASH_ATTN_TYPE_AUTO,
        True: library.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        False: library.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    }[options.flash_attn]
    return params
