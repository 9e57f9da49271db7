"""Leaves out a stage that failed and that an answer can be without, and tells so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

from openkimi.errors import BackendError, OpenKimiError
from openkimi.held import raised_in
from openkimi.origin import Origin
from openkimi.raised import kind_of_error
from openkimi.receipt import Degraded, OptionalStage

log = structlog.get_logger()

_gathered: ContextVar[list[Degraded] | None] = ContextVar("degraded", default=None)


@contextmanager
def gathering() -> Iterator[list[Degraded]]:
    """Gather what is left out inside a ``with``, each once."""
    gathered = list[Degraded]()
    token = _gathered.set(gathered)
    try:
        yield gathered
    finally:
        _gathered.reset(token)


def leave_out(stage: OptionalStage, component: object, method: str, error: Exception) -> Degraded:
    """Note on a component's plugin, in the log and for the receipt that its stage failed."""
    told = blame(component, method, error)
    log.warning("stage_left_out", stage=stage, reason=told)
    log.debug("stage_left_out_because", stage=stage, exc_info=error)
    reason = error.message if isinstance(error, OpenKimiError) else told
    degraded = Degraded(stage=stage, reason=reason)
    gathered = _gathered.get()
    if gathered is not None and degraded not in gathered:
        gathered.append(degraded)
    return degraded


def blame(component: object, method: str, error: Exception) -> str:
    """Note on a component's plugin that a method failed, and say how, with nothing of a text in it.

    What comes out of another component that the method asked, such as the model, is that one's.
    """
    origin, method = raised_in(error) or (getattr(component, "origin", None), method)
    if isinstance(origin, Origin):
        origin.raised(method, error)
    if isinstance(error, BackendError):  # what a model or a server says may quote a text
        return type(error).__name__
    if isinstance(error, OpenKimiError):
        return error.message
    name = origin.name if isinstance(origin, Origin) else type(component).__qualname__
    return f"{name}.{method} raised {kind_of_error(error)}"
