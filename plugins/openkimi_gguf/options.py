"""The options that every engine for GGUF models has, and what can be told of them before one is opened."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from openkimi import ConfigError, parse_size
from openkimi_gguf.models import locate
from openkimi_gguf.placement import ModelOptions, check_placement
from openkimi_gguf.purpose import check_chats

MOST_BY_DEFAULT = 8192
KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


class GgufOptions(ModelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``llm`` may hold for an engine of GGUF models, whichever it is."""

    model_name: Annotated[str | None, Meta(description="A name to show; it chooses nothing.")] = None
    context_length: Annotated[
        Annotated[int, Meta(ge=256)] | None,
        Meta(description="The window in tokens; null is what the model was trained for, at most 8192."),
    ] = None
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Threads that write the answer; null is a cautious choice for this machine."),
    ] = None
    threads_batch: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Threads that read the prompt; null is every fast core, at most 16."),
    ] = None
    n_batch: Annotated[int, Meta(description="Prompt tokens read in one step.", ge=64)] = 512
    parallel: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | None,
        Meta(
            description="Answers written at the same time, each with a window of its own in memory; null is "
            "4, or fewer where they would take more than an eighth of the free memory."
        ),
    ] = None
    cache_ram: Annotated[
        str | int,
        Meta(description='Memory for prompts that were read and may come again, such as "512MiB"; 0 is off.'),
    ] = "1GiB"
    type_k: Annotated[KVType, Meta(description="The number format of the cached keys.")] = "f16"
    type_v: Annotated[KVType, Meta(description="The number format of the cached values.")] = "f16"
    flash_attn: Annotated[bool | None, Meta(description="Flash attention; null lets llama.cpp decide.")] = (
        None
    )
    top_k: Annotated[int, Meta(description="Sample among the k likeliest tokens only; 0 is off.", ge=0)] = 40
    min_p: Annotated[
        float,
        Meta(description="Never sample a token this much less likely than the best; 0 is off.", ge=0, le=1),
    ] = 0.05
    load_in_8bit: Annotated[bool, Meta(description="Not for GGUF: choose a Q8_0 file instead.")] = False
    load_in_4bit: Annotated[bool, Meta(description="Not for GGUF: choose a Q4_K_M file instead.")] = False

    def window(self, trained: int) -> int:
        """Return the tokens of a window of a model that was trained for so many."""
        return self.context_length or min(trained, MOST_BY_DEFAULT)

    @property
    def cache_bytes(self) -> int:
        """The size of ``cache_ram``.

        Raises:
            ConfigError: it is no size.
        """
        return 0 if self.cache_ram in {0, "0"} else parse_size(self.cache_ram, where="llm.cache_ram")


def check_common(options: GgufOptions) -> None:
    """Refuse what would fail when the model is opened, with any engine; nothing is loaded or fetched.

    Raises:
        ConfigError: an option that cannot work, or a model that cannot be found.
    """
    _check_quantisation(options)
    check_placement(options)
    _check_kv_types(options)
    check_chats(locate(options.model_path))


def _check_quantisation(options: GgufOptions) -> None:
    for asked, bits, name in ((options.load_in_8bit, 8, "Q8_0"), (options.load_in_4bit, 4, "Q4_K_M")):
        if asked:
            raise ConfigError(
                f"llm.load_in_{bits}bit: a GGUF file is quantised already; remove this option and name a "
                f"{name} file of the model in llm.model_path"
            )


def _check_kv_types(options: GgufOptions) -> None:
    if options.flash_attn is False and options.type_v not in ("f32", "f16", "bf16"):
        raise ConfigError(f"llm.type_v: '{options.type_v}' needs flash attention; remove llm.flash_attn")
