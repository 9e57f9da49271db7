"""Turns what LanceDB raises into the errors of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from openkimi import StorageError

LANCE_ERRORS = (RuntimeError, ValueError, OSError)
"""LanceDB has no error tree of its own."""


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Raise StorageError in place of LanceDB's errors; ``what`` could not be done."""
    try:
        yield
    except LANCE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"document memory: {what}: {reason[:200]}") from error


class DamagedDocument(StorageError):
    """A stored document cannot be read any more."""

    def __init__(self, document_id: str) -> None:
        super().__init__(
            f"document memory: the stored copy of '{document_id}' is damaged and is ignored from now on; "
            "send or upload the document again"
        )
