"""Opens a component the way the gateway does, without a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from openkimi.contracts import Embedder
from openkimi.errors import PluginError
from openkimi.options import convert_options
from openkimi.providers import Provider

T = TypeVar("T")


class _Context:
    def __init__(self, embedder: Embedder | None) -> None:
        self._embedder = embedder

    @property
    def embedder(self) -> Embedder:
        if self._embedder is None:
            raise PluginError("this component wants an embedder: pass embedder= to open_component")
        return self._embedder


@asynccontextmanager
async def open_component(
    provider: Provider[T], *, embedder: Embedder | None = None, **options: Any
) -> AsyncIterator[T]:
    """Open a provider's component with options as the config would give them, and close it again.

    Raises:
        ConfigError: the options do not fit the provider's Struct, or its check refuses them.
    """
    converted = convert_options(options, provider.config, where=provider.kind)
    if provider.check is not None:
        provider.check(converted)
    async with provider.open(converted, _Context(embedder)) as component:
        yield component
