"""Opens a component the way the gateway does, without a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from openkimi.components import Context
from openkimi.contracts import Embedder
from openkimi.options import convert_options
from openkimi.providers import Provider

T = TypeVar("T")


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
    async with provider.open(converted, Context(embedder)) as component:
        yield component
