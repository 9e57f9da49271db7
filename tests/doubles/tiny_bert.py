"""A BERT of one layer with random weights, as a GGUF file and as numpy computes it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = ["the", "sea", "is", "calm", "query", "passage", "ship", "storm", ":", "."]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"\u2581{word}" for word in WORDS)]
CLS, SEP = 2, 3
WIDTH, HEADS, INNER, LONGEST = 32, 2, 64, 64
MEAN, FIRST, RANK = 1, 2, 4
_ALIGNMENT = 32

Weights = dict[str, NDArray[np.float32]]


def weights() -> Weights:
    """Make the weights, the same ones each time."""
    random = np.random.default_rng(5)

    def matrix(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    made = {
        "token_embd.weight": matrix(len(TOKENS), WIDTH, 1),
        "position_embd.weight": matrix(LONGEST, WIDTH, 0.3),
        "token_types.weight": matrix(2, WIDTH, 0.1),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        made[f"blk.0.{name}.weight"] = matrix(WIDTH, WIDTH, 0.2)
        made[f"blk.0.{name}.bias"] = matrix(1, WIDTH, 0.1)[0]
    for name, rows, columns in (("ffn_up", INNER, WIDTH), ("ffn_down", WIDTH, INNER)):
        made[f"blk.0.{name}.weight"] = matrix(rows, columns, 0.2)
        made[f"blk.0.{name}.bias"] = matrix(1, rows, 0.1)[0]
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        made[f"{name}.weight"] = 1 + matrix(1, WIDTH, 0.1)[0]
        made[f"{name}.bias"] = matrix(1, WIDTH, 0.1)[0]
    return made


def write(path: Path, *, pooling: int | None = MEAN) -> Path:
    """Write the model as llama.cpp reads it; without a ``pooling`` the file does not say how it pools."""
    head: dict[str, Any] = {
        "general.architecture": "bert",
        "bert.context_length": LONGEST,
        "bert.embedding_length": WIDTH,
        "bert.block_count": 1,
        "bert.feed_forward_length": INNER,
        "bert.attention.head_count": HEADS,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3, 3, 3, 3, 3, *[1] * len(WORDS)],
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": CLS,
        "tokenizer.ggml.seperator_token_id": SEP,
        **({} if pooling is None else {"bert.pooling_type": pooling}),
    }
    tensors = weights()
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(head))
    data += b"".join(_text(key) + _value(value) for key, value in head.items())
    offset = 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        data += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    data += bytes(-len(data) % _ALIGNMENT)
    for tensor in tensors.values():
        data += tensor.tobytes() + bytes(-tensor.nbytes % _ALIGNMENT)
    path.write_bytes(data)
    return path


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def outputs(words: Sequence[str]) -> NDArray[np.float32]:
    """Compute the vectors of a text's tokens, those around it included (Devlin et al., arXiv 1810.04805)."""
    known = weights()
    ids = [CLS, *(TOKENS.index(f"\u2581{word}") for word in words), SEP]
    state = known["token_embd.weight"][ids] + known["position_embd.weight"][: len(ids)]
    state = _norm(state + known["token_types.weight"][0], known, "token_embd_norm")
    queries, keys, values = (
        _linear(state, known, f"blk.0.attn_{name}").reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
        for name in "qkv"
    )
    attention = np.exp(queries @ keys.transpose(0, 2, 1) / np.sqrt(WIDTH // HEADS))
    attention /= attention.sum(-1, keepdims=True)
    seen = (attention @ values).transpose(1, 0, 2).reshape(len(ids), WIDTH)
    state = _norm(state + _linear(seen, known, "blk.0.attn_output"), known, "blk.0.attn_output_norm")
    inner = _linear(state, known, "blk.0.ffn_up")
    inner = inner / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return _norm(state + _linear(inner, known, "blk.0.ffn_down"), known, "blk.0.layer_output_norm")


def _linear(state: NDArray[np.float32], known: Weights, name: str) -> NDArray[np.float32]:
    return state @ known[f"{name}.weight"].T + known[f"{name}.bias"]


def _norm(state: NDArray[np.float32], known: Weights, name: str) -> NDArray[np.float32]:
    centred = state - state.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return scaled * known[f"{name}.weight"] + known[f"{name}.bias"]
