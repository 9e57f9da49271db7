"""Tells models that write from those that give vectors or scores, before one is loaded for the other."""

from __future__ import annotations

from pathlib import Path

from openkimi import ConfigError
from openkimi_gguf.catalogue import DEFAULT_MODEL, CatalogueEntry
from openkimi_gguf.hub import HubSource
from openkimi_gguf.metadata import Metadata, MetadataError, read_metadata

# Encoders: they read a text from both ends and write none.
_ENCODERS = frozenset(
    {
        "bert", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3",
        "eurobert", "gemma-embedding", "t5encoder",
    }
)  # fmt: skip
_NO_POOLING = 0


def gives_vectors(header: Metadata) -> bool:
    """Tell whether a model was made to give vectors or scores rather than text."""
    architecture = header.get("general.architecture")
    pooling = header.get(f"{architecture}.pooling_type", _NO_POOLING)
    return architecture in _ENCODERS or pooling != _NO_POOLING


def check_writes(path: Path) -> None:
    """Refuse a model file for chat that gives vectors or scores; of a damaged one the engine tells.

    Raises:
        ConfigError: it does.
    """
    try:
        header = read_metadata(path)
    except (MetadataError, OSError, ValueError):
        return
    if gives_vectors(header):
        raise ConfigError(refusal(f"'{path}'"))


def check_chats(model: Path | CatalogueEntry | HubSource) -> None:
    """Refuse a model of the catalogue for chat that is not for it, before it is fetched.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(model, CatalogueEntry) and model.purpose != "chat":
        raise ConfigError(refusal(model.name))


def refusal(name: str) -> str:
    """Say why a model is refused for chat, and which ones are for it."""
    return (
        f"llm.model_path: {name} is an embedding or reranking model, it writes no answers; name a model for "
        f"chat, such as {DEFAULT_MODEL} ('openkimi models list' shows more)"
    )
