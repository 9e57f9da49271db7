"""A model's weights and the context that evaluates tokens with them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from openkimi import ConfigError
from openkimi_gguf.room import fits
from openkimi_llama_cpp.context import Context
from openkimi_llama_cpp.library import load_library, sink
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.placement import gpu_layers
from openkimi_llama_cpp.vocabulary import Vocabulary


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
        params.n_gpu_layers = gpu_layers(options, library)
        if params.n_gpu_layers == 0 and not fits(path, options, options.parallel or 1):
            # Weights repacked for this processor are a copy, which cannot be dropped like the file's.
            params.use_extra_bufts = False
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
