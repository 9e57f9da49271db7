"""Looks at a model before it is loaded: its file, whether it fits into memory, and the GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from openkimi import Finding
from openkimi_gguf.available import UNKNOWN, available_memory
from openkimi_gguf.catalogue import CatalogueEntry
from openkimi_gguf.fetching import fault_of, on_hub, place_of
from openkimi_gguf.hub import HubSource
from openkimi_gguf.memory import kv_bytes_per_token
from openkimi_gguf.metadata import Metadata, MetadataError, read_metadata
from openkimi_gguf.models import locate
from openkimi_gguf.options import GgufOptions
from openkimi_gguf.parts import size_of_model

_MB = 1_000_000
_TOKENS = 8192
"""What a model was trained with that does not say so."""


def diagnose_model(options: GgufOptions) -> Iterator[Finding]:
    """Look at the file that ``llm.model_path`` names, and at the memory that it will take."""
    found = locate(options.model_path)
    if isinstance(found, HubSource):
        yield from _of_hub(found, options)
    elif isinstance(found, CatalogueEntry):
        yield from _known(found, options)
    else:
        yield Finding(what="model", says=f"{found}, {size_of_model(found) / _MB:.0f} MB")
        yield from _memory(found, options)


def diagnose_gpu(options: GgufOptions, devices: Callable[[], list[str]], *, remedy: str) -> Finding:
    """Tell whether a library can use a GPU; ``devices`` names those it sees, ``remedy`` what makes it."""
    seen = devices()
    if seen:
        return Finding(what="GPU", says=", ".join(seen))
    if options.device in {"cuda", "mps"}:
        says = f"llm.device is '{options.device}', and the library was built without, or sees none"
        return Finding(what="GPU", state="broken", says=says, remedy=remedy)
    if shutil.which("nvidia-smi") and options.device != "cpu":
        says = "this machine seems to have one that the library cannot use"
        return Finding(what="GPU", state="warning", says=says, remedy=remedy)
    return Finding(what="GPU", says="none; the model runs on the processor")


def _of_hub(source: HubSource, options: GgufOptions) -> Iterator[Finding]:
    """Look at a model of the hub."""
    path = on_hub(source)
    if path is None:
        says = f"{options.model_path} is fetched from the hub at the first start"
        yield Finding(what="model", state="warning", says=says)
    else:
        yield Finding(what="model", says=f"{path}, {size_of_model(path) / _MB:.0f} MB")
        yield from _memory(path, options)


def _known(entry: CatalogueEntry, options: GgufOptions) -> Iterator[Finding]:
    """Look at a model of the catalogue."""
    path = place_of(entry)
    if not path.is_file():
        size = f" ({entry.size / _MB:.0f} MB)" if entry.size else ""
        says, remedy = (
            f"{entry.name} is fetched at the first start{size}",
            f"openkimi models pull {entry.name}",
        )
        yield Finding(what="model", state="warning", says=says, remedy=remedy)
    elif wrong := fault_of(path, entry):
        remedy = "delete the file; it is fetched again"
        yield Finding(what="model", state="broken", says=f"{path}: {wrong}", remedy=remedy)
    else:
        checked = ", SHA-256 as it should be" if entry.sha256 else ""
        yield Finding(what="model", says=f"{path}{checked}")
        yield from _memory(path, options)


def _memory(path: Path, options: GgufOptions) -> Iterator[Finding]:
    """Compare what weights and cache will take with what is there."""
    try:
        header = read_metadata(path)
    except MetadataError as error:
        remedy = "fetch the file again, or take another one"
        yield Finding(what="model", state="broken", says=f"{path}: {error}", remedy=remedy)
        return
    there, weights = available_memory(), size_of_model(path)
    length = options.window(_trained(header))
    cache = length * (kv_bytes_per_token(header, "f16", "f16") or 0)
    says = f"about {(weights + cache) / _MB:.0f} MB for weights and {length} tokens of cache"
    if there == UNKNOWN:
        yield Finding(what="memory", says=says)
        return
    says = f"{says}, {there / _MB:.0f} MB there"
    if weights + cache <= there:
        yield Finding(what="memory", says=says)
    else:
        remedy = "end other programs, set a smaller llm.context_length, or take a smaller model"
        yield Finding(what="memory", state="warning", says=says, remedy=remedy)


def _trained(header: Metadata) -> int:
    """Return the window that a model was trained with."""
    length = header.get(f"{header.get('general.architecture')}.context_length")
    return length if isinstance(length, int) and length > 0 else _TOKENS
