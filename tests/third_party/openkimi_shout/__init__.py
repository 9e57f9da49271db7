"""A plugin as a stranger would write it: the backend ``shout``, the retriever ``memory`` and a command."""

from __future__ import annotations

from collections.abc import Iterable

import click

from openkimi import Backend, Provider, Retriever, hookimpl
from openkimi_shout.backend import ShoutBackend, ShoutOptions, open_shout
from openkimi_shout.command import shout
from openkimi_shout.retriever import MemoryRetriever, open_memory

__all__ = ["MemoryRetriever", "ShoutBackend", "ShoutOptions"]


@hookimpl
def register_backends() -> Iterable[Provider[Backend]]:
    """Offer the kind ``shout``."""
    yield Provider(
        "shout", open_shout, ShoutOptions, description="Says the question again, louder.", contract=1
    )


@hookimpl
def register_retrievers() -> Iterable[Provider[Retriever]]:
    """Offer the kind ``memory``."""
    yield Provider("memory", open_memory, description="Keeps documents until the process ends.", contract=1)


@hookimpl
def register_commands() -> Iterable[click.Command]:
    """Offer ``openkimi shout``."""
    yield shout
