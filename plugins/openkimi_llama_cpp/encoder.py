"""A model that turns texts into vectors, with the context that it does so in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from openkimi import BackendError, BackendUnavailable, ConfigError, Vectors
from openkimi_gguf import threads
from openkimi_gguf.available import available_memory
from openkimi_gguf.parts import size_of_model
from openkimi_llama_cpp.batch import Batch
from openkimi_llama_cpp.embedder_options import LlamaCppEmbedderOptions
from openkimi_llama_cpp.interrupt import Interrupt
from openkimi_llama_cpp.library import load_library
from openkimi_llama_cpp.placement import gpu_layers
from openkimi_llama_cpp.state_files import fingerprint
from openkimi_llama_cpp.vocabulary import Vocabulary
from openkimi_llama_cpp.weights import load_weights

MOST_SEQUENCES = 64
TOKENS_ON_GPU, TOKENS_ON_CPU = 512, 128
_ABORTED = 2

_log = structlog.get_logger("openkimi_llama_cpp")


class Encoder:
    """A loaded GGUF model that pools what it computes for a text's tokens; for one thread at a time.

    ``window`` is the most tokens of a text, those that ``head`` and ``tail`` put around it included;
    ``n_batch`` those of several texts that are well embedded at once.
    """

    def __init__(self, path: Path, options: LlamaCppEmbedderOptions) -> None:
        """Load the model and make its context.

        Raises:
            ConfigError: the file is no model that can embed, the device is not there, or memory does not
                suffice.
        """
        self._library = library = load_library()
        self.interrupt = Interrupt()
        repack = size_of_model(path) <= available_memory()
        self._weights = load_weights(library, path, options, repack=repack)
        self._context: Any = None
        try:
            self._context = self._open(path, options)
            self._vocabulary = Vocabulary(library, self._weights)
        except BaseException:
            self.close()
            raise
        self.interrupt.attach(library, self._context)
        self._batch = Batch(library, self._capacity)
        self.head, self.tail = self._vocabulary.frame()
        self.dimensions: int = library.llama_model_n_embd_out(self._weights)
        pooling = library.llama_pooling_type(self._context)
        self.fingerprint = fingerprint(
            path, pooling, self.window, options.query_prefix, options.document_prefix
        )

    def tokenize(self, text: str) -> list[int]:
        """Turn a text into ids, control tokens taken as text."""
        return self._vocabulary.tokenize(text) if text else []

    def encode(self, sequences: Sequence[Sequence[int]]) -> Vectors:
        """Embed up to 64 sequences of ids, no more tokens together than the context holds; rows as they come.

        Raises:
            BackendUnavailable: :attr:`interrupt` was set.
            BackendError: llama.cpp failed.
        """
        library = self._library
        if (memory := library.llama_get_memory(self._context)) is not None:
            library.llama_memory_clear(memory, False)
        code = library.llama_decode(self._context, self._batch.whole(sequences))
        if code == _ABORTED:
            raise BackendUnavailable("the embedder was closed meanwhile")
        if code:
            raise BackendError(f"llama.cpp could not embed {len(sequences)} texts (code {code})")
        rows = np.empty((len(sequences), self.dimensions), np.float32)
        for row in range(len(sequences)):
            vector = library.llama_get_embeddings_seq(self._context, row)
            if not vector:
                raise BackendError("llama.cpp gave no vector for a text")
            rows[row] = np.ctypeslib.as_array(vector, (self.dimensions,))
        if not np.isfinite(rows).all():
            raise BackendError(
                "llama.cpp gave a vector of what are no numbers; try another file of the model"
            )
        return rows

    def close(self) -> None:
        """Free the context and the weights."""
        if self._weights is not None:
            if self._context is not None:
                self._library.llama_free(self._context)
            self.interrupt.free()
            self._library.llama_model_free(self._weights)
            self._weights = None

    def _open(self, path: Path, options: LlamaCppEmbedderOptions) -> Any:
        library = self._library
        if library.llama_model_has_encoder(self._weights) and library.llama_model_has_decoder(self._weights):
            raise ConfigError(
                f"llm.model_path: '{path}' is a model of encoder and decoder, which cannot embed"
            )
        trained: int = library.llama_model_n_ctx_train(self._weights)
        self.window = options.window(trained)
        if self.window > trained:
            raise ConfigError(f"llm.context_length: the model was trained for {trained} tokens at most")
        usual = TOKENS_ON_GPU if gpu_layers(options, library) else TOKENS_ON_CPU
        self.n_batch = options.n_batch or usual
        self._capacity = max(self.window, self.n_batch)
        pooling = "unspecified" if options.pooling is None else options.pooling
        context = self._make(options, pooling)
        own = library.llama_pooling_type(context)
        if own == library.LLAMA_POOLING_TYPE_NONE:
            _log.warning(
                "embedder_without_pooling",
                model=path.name,
                remedy="this is no model for embeddings, or its file does not say how it pools: the mean is "
                "taken; choose a model made for it, or set embedder.pooling",
            )
            library.llama_free(context)
            return self._make(options, "mean")
        if own == library.LLAMA_POOLING_TYPE_RANK:
            library.llama_free(context)
            raise ConfigError(
                f"llm.model_path: '{path}' scores pairs of texts and gives no vectors; choose another model"
            )
        return context

    def _make(self, options: LlamaCppEmbedderOptions, pooling: str) -> Any:
        library = self._library
        params = library.llama_context_default_params()
        # One step must hold all of a text: what is pooled is what one step computed.
        params.n_ctx = params.n_batch = params.n_ubatch = self._capacity
        params.n_seq_max = min(MOST_SEQUENCES, library.llama_max_parallel_sequences())
        params.kv_unified = True
        params.embeddings = True
        params.pooling_type = getattr(library, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
        params.n_threads = params.n_threads_batch = options.threads or threads.defaults()[0]
        context = library.llama_init_from_model(self._weights, params)
        if not context:
            raise ConfigError(
                f"llm.context_length: no context of {self._capacity} tokens can be had, most likely for "
                "want of memory; lower it or llm.n_batch"
            )
        return context
