"""The hooks that a plugin may implement, all called once while its plugins are loaded.

Hooks are plain functions: asynchronous work lives in the objects that a provider opens. No hook runs
while a request is served, and the order in which plugins load decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
import pluggy

from openkimi.contracts import Backend, ContextSampler, Embedder, Processor, Retriever, Synthesizer
from openkimi.providers import Provider

PROJECT = "openkimi"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


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
