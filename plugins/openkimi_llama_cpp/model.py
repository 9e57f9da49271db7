"""A model's weights and the context that evaluates tokens with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openkimi_gguf.room import fits
from openkimi_llama_cpp.context import Context
from openkimi_llama_cpp.gpus import gpus_of
from openkimi_llama_cpp.library import load_library
from openkimi_llama_cpp.offload import check_offload
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.placement import gpu_layers
from openkimi_llama_cpp.vocabulary import Vocabulary
from openkimi_llama_cpp.weights import load_weights


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
        layers = gpu_layers(options, library)
        if layers:
            check_offload(path, options, layers, gpus_of(library))
        repack = layers != 0 or fits(path, options, options.parallel or 1)
        return load_weights(library, path, options, repack=repack)
