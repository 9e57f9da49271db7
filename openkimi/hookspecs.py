"""The hooks that a plugin may implement: for its components, and for the application around them.

Hooks are plain functions: asynchronous work lives in the objects that they return. Those for components are
called once while plugins are loaded, those with an ``app`` while an application is built, or its engine
opens. No hook runs while a request is served, and the order in which plugins load decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import click
import msgspec
import pluggy

from openkimi.app_context import AppContext
from openkimi.contracts import Backend, ContextSampler, Embedder, Processor, Retriever, Synthesizer
from openkimi.providers import Provider

PROJECT = "openkimi"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

IS_PUBLIC = "openkimi_public"
PUBLIC = {IS_PUBLIC: True}
"""The ``opt`` of a route that is to need no key, where ``plugins.public`` of the config names its plugin."""


@hookspec
def register_backends() -> Iterable[Provider[Backend]]:  # type: ignore[empty-body]
    """Offer kinds of language model, chosen by ``llm.type``."""


@hookspec
def register_embedders() -> Iterable[Provider[Embedder]]:  # type: ignore[empty-body]
    """Offer kinds of embedder, chosen by ``embedder.type``."""


@hookspec
def register_processors() -> Iterable[Provider[Processor]]:  # type: ignore[empty-body]
    """Offer ways to cut and score documents, chosen by ``processor.type``."""


@hookspec
def register_retrievers() -> Iterable[Provider[Retriever]]:  # type: ignore[empty-body]
    """Offer kinds of document memory, chosen by ``rag.type``."""


@hookspec
def register_samplers() -> Iterable[Provider[ContextSampler]]:  # type: ignore[empty-body]
    """Offer ways to choose the contexts of several reasoning paths, chosen by ``mpr.sampling``."""


@hookspec
def register_synthesizers() -> Iterable[Provider[Synthesizer]]:  # type: ignore[empty-body]
    """Offer ways to make one answer of several candidates, chosen by ``mpr.synthesis``."""


@hookspec
def register_commands() -> Iterable[click.Command]:  # type: ignore[empty-body]
    """Offer commands of ``openkimi``, such as ``openkimi models``."""


@hookspec
def register_options() -> type[msgspec.Struct]:  # type: ignore[empty-body]
    """Say what the config may hold for the plugin in ``plugins.options``; each option has a default."""


@hookspec
def register_routes(app: AppContext) -> Iterable[Any]:  # type: ignore[empty-body]
    """Offer Litestar's route handlers, controllers or routers, mounted under ``/plugins/<name>``."""


@hookspec
def register_middleware(app: AppContext) -> Iterable[Callable[[Any], Any]]:  # type: ignore[empty-body]
    """Offer functions that take an ASGI application and return one that stands around it."""


@hookspec
def lifespan(app: AppContext) -> AbstractAsyncContextManager[Any]:  # type: ignore[empty-body]
    """Return what is entered before the application serves and left when it has stopped."""


@hookspec
def wrap_backend(app: AppContext, backend: Backend) -> Backend | None:
    """Return a backend to take the place of the one that was opened, or None to leave it."""
