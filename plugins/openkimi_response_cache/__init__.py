"""Answers requests that came before from memory, without asking the model again.

It stands around the model, not around HTTP. The prompt that reaches the model holds what was retrieved for
it, so that an answer from memory is the one to the very same text: nothing has to be dropped when a document
comes or goes, and one that is gone is still a 404. All routes and streams are served alike, and so is each of
several reasoning paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec

from openkimi import AppContext, Backend, hookimpl, parse_size
from openkimi_response_cache.answers import Answers
from openkimi_response_cache.backend import CachingBackend
from openkimi_response_cache.outcome import telling


class ResponseCacheOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``plugins.options.response_cache`` may hold."""

    enabled: Annotated[bool, msgspec.Meta(description="Answer identical requests from memory.")] = False
    max_size: Annotated[
        int | str,
        msgspec.Meta(description="Memory for answers, in bytes or like 64MiB; the oldest unused go first."),
    ] = "64MiB"
    ttl: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(description="Seconds for which an answer is kept; null: any time."),
    ] = 3600.0


_KEPT = "kept"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of a model, which stay good over a reload that leaves the model and the options alone."""

    backend: Backend
    options: ResponseCacheOptions
    answers: Answers

    def serves(self, backend: Backend, options: ResponseCacheOptions) -> bool:
        """Tell whether the answers are those of a model, kept as the options say."""
        return self.backend is backend and self.options == options


@hookimpl
def register_options() -> type[ResponseCacheOptions]:
    """Take options."""
    return ResponseCacheOptions


@hookimpl
def wrap_backend(app: AppContext, backend: Backend) -> Backend | None:
    """Put the memory before the model."""
    if not app.options.enabled:
        return None
    kept = app.previous.state.get(_KEPT) if app.previous else None
    if kept is None or not kept.serves(backend, app.options):
        most = parse_size(app.options.max_size, where="plugins.options.response_cache.max_size")
        answers = Answers(most_bytes=most, seconds=app.options.ttl)
        kept = Kept(backend=backend, options=app.options, answers=answers)
    app.state[_KEPT] = kept
    return CachingBackend(backend, kept.answers)


@hookimpl
def register_middleware(app: AppContext) -> Iterable[Callable[[Any], Any]]:
    """Tell callers where their answer came from."""
    return [telling] if app.options.enabled else []
