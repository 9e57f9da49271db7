"""The options of the embedder, and what can be told of them before a model is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, Literal

from msgspec import Meta

from openkimi import ConfigError, PluginError
from openkimi_gguf.models import locate
from openkimi_gguf.placement import ModelOptions, check_placement
from openkimi_llama_cpp.options import INSTALL

MOST_BY_DEFAULT = 512
Pooling = Literal["mean", "cls", "last"]


class LlamaCppEmbedderOptions(ModelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``embedder`` may hold when its ``type`` is ``llama-cpp``."""

    model_path: Annotated[
        str,
        Meta(
            description="An embedding model: a GGUF file, a name of the catalogue, or "
            "hf:owner/repo/file.gguf.",
            min_length=1,
        ),
    ]
    pooling: Annotated[
        Pooling | None,
        Meta(
            description="How the vectors of a text's tokens become one: their mean, that of the first token "
            "(cls) or of the last one; null is what the model's file says, or else mean."
        ),
    ] = None
    query_prefix: Annotated[
        str,
        Meta(description='Put before each question, as the model was trained: "query: " for E5.'),
    ] = ""
    document_prefix: Annotated[
        str,
        Meta(description='Put before each passage, as the model was trained: "passage: " for E5.'),
    ] = ""
    context_length: Annotated[
        Annotated[int, Meta(ge=32)] | None,
        Meta(
            description="The most tokens that are embedded as one text, a longer one gets the mean of its "
            "parts; null is what the model was trained for, at most 512."
        ),
    ] = None
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Threads that embed; null is every fast core, at most 16."),
    ] = None
    n_batch: Annotated[
        Annotated[int, Meta(ge=64)] | None,
        Meta(
            description="Tokens of several texts embedded at once; null is 512 on a GPU and 128 on a CPU, "
            "where more are hardly quicker and keep a question waiting."
        ),
    ] = None

    def window(self, trained: int) -> int:
        """Return the most tokens of a text, of a model that was trained for so many."""
        return self.context_length or min(trained, MOST_BY_DEFAULT)


_NAMES = "|".join(LlamaCppEmbedderOptions.__struct_fields__)


def check_embedder(options: LlamaCppEmbedderOptions) -> None:
    """Refuse what would fail when the model is opened; nothing is loaded or fetched.

    Raises:
        PluginError: llama-cpp-python is not installed.
        ConfigError: an option that cannot work, or a model that cannot be found.
    """
    if find_spec("llama_cpp") is None:
        raise PluginError(f"embedder.type: 'llama-cpp' needs llama-cpp-python, which is missing: {INSTALL}")
    with as_embedder():
        check_placement(options)
        locate(options.model_path)


@contextmanager
def as_embedder() -> Iterator[None]:
    """Let errors about the options of a model, which name them ``llm.``, name those of the embedder.

    Raises:
        ConfigError: the one that was raised inside.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(re.sub(rf"(?<![\w./-])llm\.(?={_NAMES})", "embedder.", error.message)) from error
