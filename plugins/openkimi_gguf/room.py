"""Compares what a model takes with the memory that is there, before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import structlog

from openkimi import ConfigError
from openkimi_gguf.available import UNKNOWN, available_memory, free_swap
from openkimi_gguf.memory import kv_bytes_per_token
from openkimi_gguf.metadata import MetadataError, read_metadata
from openkimi_gguf.options import GgufOptions, KVType
from openkimi_gguf.parts import size_of_model

SMALLER: KVType = "q8_0"
SMALLER_SHARE = 17 / 32
"""What it takes of the default ``f16``."""
LEAST = 256

_log = structlog.get_logger("openkimi_gguf")


class Room(NamedTuple):
    """The bytes of a model's weights and of its cache, and what is free for them.

    ``refusal`` says which option to change where the cache does not fit, swap included. Weights can be
    dropped and read from the file again, so a model that is larger than memory works, slowly.
    """

    weights: int
    cache: int
    free: int
    refusal: str = ""

    @property
    def short(self) -> bool:
        """Whether not everything fits at once."""
        return self.weights + self.cache > self.free

    def warn(self) -> None:
        """Tell in the log that memory is short."""
        _log.warning(
            "memory_is_short",
            weights=readable(self.weights),
            cache=readable(self.cache),
            free=readable(self.free),
            remedy="parts of the model are read from the disk again and again; choose a smaller file or "
            "model, or lower llm.context_length or llm.parallel",
        )


BOUNDLESS = Room(0, 0, UNKNOWN)
"""That of a model of which too little is known: it counts as one that fits."""


def room_for(path: Path, options: GgufOptions, streams: int) -> Room:
    """Compare a model, and a cache for so many answers at once, with the computer's memory."""
    cache = _cache(path, options)
    if cache is None:
        return BOUNDLESS
    per_token, window = cache
    free, swap = available_memory(), free_swap()
    needed = per_token * window * streams
    refusal = _refusal(options, per_token, window, streams, free + swap) if needed > free + swap else ""
    return Room(size_of_model(path), needed, free, refusal)


def fits(path: Path, options: GgufOptions, streams: int) -> bool:
    """Tell whether weights and a cache for so many answers fit into memory; warn where only the cache does.

    Raises:
        ConfigError: the cache does not fit, swap included.
    """
    room = room_for(path, options, streams)
    if room.refusal:
        raise ConfigError(room.refusal)
    if room.short:
        room.warn()
    return not room.short


def readable(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def _cache(path: Path, options: GgufOptions) -> tuple[int, int] | None:
    """Give the bytes that a token takes and the tokens of a window, None where they cannot be told."""
    try:
        header = read_metadata(path)
    except (MetadataError, OSError, ValueError) as error:
        _log.debug("header_not_read", reason=str(error))
        return None
    per_token = kv_bytes_per_token(header, options.type_k, options.type_v)
    trained = header.get(f"{header.get('general.architecture')}.context_length")
    if per_token is None or not isinstance(trained, int):
        return None
    return per_token, options.window(trained)


def _refusal(options: GgufOptions, per_token: int, window: int, streams: int, free: int) -> str:
    """Say what is needed, what is there and which option to set to what."""
    ways = []
    longest = free // (per_token * streams) // LEAST * LEAST
    if longest >= LEAST:
        ways.append(f"set llm.context_length to {longest} or less")
    if 1 <= (fewer := free // (per_token * window)) < streams:
        ways.append(f"set llm.parallel to {fewer} or less")
    halved = int(per_token * SMALLER_SHARE) * window * streams <= free
    if halved and options.flash_attn is not False and {options.type_k, options.type_v} == {"f16"}:
        ways.append(f"set llm.type_k and llm.type_v to '{SMALLER}'")
    answers = f" for each of {streams} answers at once" if streams > 1 else ""
    return (
        f"llm.context_length: the cache of {window} tokens{answers} takes "
        f"{readable(per_token * window * streams)} of memory, and {readable(free)} are free; "
        f"{' or '.join(ways) or 'free some memory or choose a smaller model'}"
    )
