"""What becomes of a model that was loaded for nobody."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol, TypeVar


class Closing(Protocol):
    """What is freed by hand."""

    def close(self) -> None:
        """Free it."""
        ...


C = TypeVar("C", bound=Closing)


def discard(loading: Future[C]) -> None:
    """Free a model that nobody waits for any more."""
    if not loading.cancelled() and loading.exception() is None:
        loading.result().close()
