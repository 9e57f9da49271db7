"""How far long work has come, told while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import msgspec
import structlog

from openkimi.ending import end
from openkimi.messages import Usage

Stage = Literal["cutting", "storing", "reading", "condensing", "reasoning"]

log = structlog.get_logger()

_UNITS: dict[Stage, str] = {
    "cutting": "characters",
    "storing": "passages",
    "reading": "parts of the text",
    "condensing": "groups of notes",
    "reasoning": "paths",
}
_OFTEN_SECONDS = 0.5
_LOG_SECONDS = 2.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stage has come: ``done`` of ``total``.

    A document is ``cutting`` (characters) and ``storing`` (passages). In the exhaustive mode the model is
    ``reading`` parts of a text and ``condensing`` notes: ``calls`` is then the most answers it will write,
    ``tokens`` about how many prompt tokens are still to be read, and ``spent`` what this step has used. With
    several paths it is ``reasoning``; ``choice`` is the number of the answer where several are made.
    """

    stage: Stage
    done: int
    total: int
    calls: int | None = None
    tokens: int | None = None
    spent: Usage | None = None
    choice: int | None = None

    @property
    def by_model(self) -> bool:
        """Whether it is the model that works."""
        return self.calls is not None or self.stage == "reasoning"

    @property
    def text(self) -> str:
        """Say it in a line, with nothing of a text in it."""
        cost = "" if self.tokens is None else f", about {self.tokens} tokens to read"
        most = "" if self.calls is None else f", at most {self.calls} calls of the model"
        answer = "" if self.choice is None else f" of answer {self.choice + 1}"
        return f"{self.stage} {self.done}/{self.total} {_UNITS[self.stage]}{answer}{cost}{most}"


Report = Callable[[Progress], None]
"""Is told of progress, now and then, from any thread; must be quick and not raise."""

_told: ContextVar[Callable[[int, int], None] | None] = ContextVar("progress", default=None)


def ignore(progress: Progress) -> None:
    """Take no notice."""


def report_progress(done: int, total: int) -> None:
    """Tell whoever waits for a component's work how far it is; may be called often, and from threads.

    A processor counts characters, a retriever passages. A thread that ``asyncio.to_thread`` began knows who
    waits, another one does not.
    """
    if (tell := _told.get()) is not None:
        tell(done, total)


@contextmanager
def reporting(stage: Stage, report: Report) -> Iterator[None]:
    """Pass on what is told inside a ``with`` by :func:`report_progress`, not too often."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _OFTEN_SECONDS:
            last = now
            report(Progress(stage=stage, done=done, total=total))

    token = _told.set(tell)
    try:
        yield
    finally:
        _told.reset(token)


def logging(**names: Any) -> Report:
    """Return a report that writes a line to the log every few seconds."""
    last = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LOG_SECONDS:
            last = now
            counts = {"stage": progress.stage, "done": progress.done, "total": progress.total}
            log.info("progress", **counts, **names)

    return report


async def watched(work: Callable[[Report], Coroutine[Any, Any, None]]) -> AsyncGenerator[Progress, None]:
    """Do work in a task and yield its latest progress whenever there is some; closing ends the work.

    Raises:
        Exception: what the work raised.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    latest: list[Progress] = []

    def note(progress: Progress) -> None:
        latest[:] = [progress]
        changed.set()

    task = asyncio.create_task(work(lambda progress: _in_loop(loop, note, progress)))
    task.add_done_callback(lambda _: changed.set())
    try:
        while not task.done():
            await changed.wait()
            changed.clear()
            while latest:
                yield latest.pop()
        await task
    except asyncio.CancelledError as error:
        await end(task, error)
        raise
    finally:
        if not task.done():
            await end(task)


def _in_loop(loop: asyncio.AbstractEventLoop, note: Report, progress: Progress) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(note, progress)
