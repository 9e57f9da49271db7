"""The directory of a store that is not to be kept; those of killed processes are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "openkimi-"
_LOCK = "lock"


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a private directory, where ``TMPDIR`` points to, and remove it at the end.

    Its process holds a lock in it. Directories whose lock nobody holds belonged to processes that were
    killed, and are removed.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = _hold(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _hold(directory: Path) -> int:
    """Take the lock before it has its name, so that nobody finds it free."""
    unnamed = directory / f"{_LOCK}.new"
    lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
    _try_lock(lock)
    unnamed.rename(directory / _LOCK)
    return lock


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(directory / _LOCK, os.O_RDWR)
            try:
                if directory.lstat().st_uid == os.getuid() and _try_lock(lock):
                    shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)


def _try_lock(lock: int) -> bool:
    """Take the lock unless another process has it; where there are no such locks, nobody's is free."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
