"""How much memory a model's cache takes, told from the head of its file before anything is loaded."""

from __future__ import annotations

from typing import Any

from openkimi_gguf.metadata import Metadata

# ``type_size`` and ``blck_size`` of ggml.c: bytes for so many numbers.
BLOCKS: dict[str, tuple[int, int]] = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
    "iq4_nl": (18, 32),
}
# Those that keep one row of keys and one of values for each layer and token, and nothing else. What is not
# listed may keep less (a state, a compressed cache), and nothing is said of it.
_PLAIN = frozenset(
    {
        "llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi2", "phi3",
        "smollm3", "starcoder2", "stablelm", "internlm2", "olmo", "olmo2", "granite", "granitemoe",
        "command-r", "exaone", "minicpm", "baichuan",
    }
)  # fmt: skip


def kv_bytes_per_token(header: Metadata, type_k: str, type_v: str) -> int | None:
    """Count the bytes that a token takes in the cache; None for models of which it is not known.

    A sliding window counts as full attention: llama.cpp keeps it whole unless told otherwise (``swa_full``).
    """
    architecture = header.get("general.architecture")
    if architecture not in _PLAIN:
        return None

    def value(name: str) -> Any:
        return header.get(f"{architecture}.{name}")

    layers, heads, width = value("block_count"), value("attention.head_count"), value("embedding_length")
    if not all(isinstance(number, int) and number > 0 for number in (layers, heads, width)):
        return None
    kept = value("attention.head_count_kv") or heads
    kept = kept if isinstance(kept, list) else [kept] * layers
    key = value("attention.key_length") or width // heads
    size = value("attention.value_length") or width // heads
    return sum(row_size(number * key, type_k) + row_size(number * size, type_v) for number in kept[:layers])


def row_size(numbers: int, type: str) -> int:
    """Count the bytes of so many numbers of a format, whole blocks of it."""
    size, block = BLOCKS[type]
    return -(-numbers // block) * size
