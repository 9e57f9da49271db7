"""The backend ``scripted`` (alias ``dummy``): an honest fake that needs no model.

It is what answers when no model is configured, and what tests and authors of plugins talk to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi import Backend, OpenContext, Provider, hookimpl
from openkimi_scripted.backend import ScriptedBackend
from openkimi_scripted.options import ScriptedOptions, ScriptedToolCall
from openkimi_scripted.prompt import render
from openkimi_scripted.tokens import tokenize

__all__ = ["ScriptedBackend", "ScriptedOptions", "ScriptedToolCall", "render", "tokenize"]


@asynccontextmanager
async def open_scripted(options: ScriptedOptions, context: OpenContext) -> AsyncIterator[ScriptedBackend]:
    """Open a scripted backend; there is nothing to load."""
    yield ScriptedBackend(options)


@hookimpl
def register_backends() -> Iterable[Provider[Backend]]:
    """Offer the kind ``scripted``."""
    yield Provider(
        "scripted",
        open_scripted,
        ScriptedOptions,
        aliases=("dummy",),
        description="Answers by script or with a sentence of the prompt; needs no model.",
    )
