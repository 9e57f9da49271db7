"""Shows how much of a file has come: as a bar on a terminal, as lines of the log elsewhere.

A reporter looks at what lies on the disk, so that it works for a file that another program writes, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import structlog

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_LOOKS = 0.1

Reporting = Callable[[str, int | None, Path], AbstractContextManager[None]]
"""Shows, while it is entered, how a file or folder grows, under a label, up to so many bytes."""

_log = structlog.get_logger("openkimi_gguf")


@contextmanager
def logged(label: str, total: int | None, place: Path) -> Iterator[None]:
    """Log now and then how much has come."""

    def tell() -> None:
        so_far = {"megabytes_so_far": megabytes(size_of(place))}
        _log.info("model_fetching", model=label, **so_far, **({"of": megabytes(total)} if total else {}))

    with _repeating(tell, SECONDS_BETWEEN_LINES):
        yield


@contextmanager
def drawn(label: str, total: int | None, place: Path) -> Iterator[None]:
    """Draw a bar with speed and remaining time on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(label, total=total, completed=size_of(place))
        with _repeating(lambda: bar.update(task, completed=size_of(place)), SECONDS_BETWEEN_LOOKS):
            yield
        bar.update(task, completed=total or size_of(place))


def size_of(place: Path) -> int:
    """Count the bytes of a file, or of all files below a folder; nothing where there is none."""
    if not place.is_dir():
        return _bytes(place)
    return sum(_bytes(Path(root, name)) for root, _, names in os.walk(place) for name in names)


def megabytes(size: int | None) -> int | None:
    """Round a number of bytes for people."""
    return None if size is None else round(size / 1e6)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


@contextmanager
def _repeating(action: Callable[[], None], seconds: float) -> Iterator[None]:
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            action()

    watcher = threading.Thread(target=repeat, name="openkimi-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
