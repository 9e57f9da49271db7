"""Where the file of a model lies that is named by a path, by the catalogue or by the hub's name.

``openkimi models list|pull NAME|path NAME`` shows it, fetches one, and tells its place.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from openkimi import ConfigError
from openkimi_gguf.catalogue import CATALOGUE, DEFAULT_MODEL, CatalogueEntry
from openkimi_gguf.hub import HubSource
from openkimi_gguf.parts import model_files, part_names

__all__ = ["CATALOGUE", "DEFAULT_MODEL", "MAGIC", "CatalogueEntry", "locate", "resolve"]

MAGIC = b"GGUF"

_HUB_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)/(?P<filename>[^\s]+\.gguf)")


def locate(model_path: str) -> Path | CatalogueEntry | HubSource:
    """Tell what ``model_path`` names, without fetching it; of a split model the first part.

    Raises:
        ConfigError: no such file or name, a malformed ``hf:`` name, a file that is no GGUF, or one of
            several whose others are missing.
    """
    if model_path.startswith("hf:"):
        return _on_hub(model_path)
    if model_path in CATALOGUE:
        return CATALOGUE[model_path]
    path = Path(model_path).expanduser()
    if path.is_dir():
        raise ConfigError(f"llm.model_path: '{model_path}' is a folder; name the GGUF file inside it")
    if path.is_file():
        return _gguf(_with_all_parts(path))
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
    folder, slash, name = match["filename"].rpartition("/")
    return HubSource(repo=match["repo"], filename=f"{folder}{slash}{part_names(name)[0]}")


def _with_all_parts(path: Path) -> Path:
    files = model_files(path)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ConfigError(
            f"llm.model_path: '{path}' is one of {len(files)} parts of a model, and {path.parent} lacks "
            f"{', '.join(missing)}"
        )
    return files[0]


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
