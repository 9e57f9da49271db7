"""What an engine has done so far, and what it is doing now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from openkimi.messages import Delta, Usage
from openkimi.pipeline import Event
from openkimi.receipt import Receipt


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the engine was made, or the first of those that it goes on for; and those of now.

    ``requests`` were begun, of which ``failed`` ended with an error or a caller who left. ``answers`` were
    written, over ``paths`` reasoning paths that were walked, and cost ``usage`` as their callers were told.
    ``running`` requests are being answered, ``waiting`` ones are not yet. ``documents`` were cut and stored.
    ``reloads`` of the config were begun, of which ``reloads_done`` took effect.
    ``trims`` emptied the caches.
    """

    requests: int
    failed: int
    answers: int
    paths: int
    usage: Usage
    running: int
    waiting: int
    documents: int
    reloads: int
    reloads_done: int
    trims: int


class Tally:
    """Counts what passes by."""

    def __init__(self) -> None:
        self.requests = self.failed = self.answers = self.paths = self.documents = 0
        self.reloads = self.reloads_done = self.trims = 0
        self.usage = Usage()

    @contextmanager
    def answering(self) -> Iterator[Counted]:
        """Count a request, and what is told of it inside of a ``with``."""
        self.requests += 1
        try:
            yield Counted(self)
        except BaseException:
            self.failed += 1
            raise

    def document_stored(self) -> None:
        """Count a document that was cut and stored."""
        self.documents += 1

    def statistics(self, *, inside: int, at_once: int | None) -> Statistics:
        """Say how it stands; ``inside`` requests are there, of which ``at_once`` can be answered."""
        running = inside if at_once is None else min(inside, at_once)
        return Statistics(
            requests=self.requests,
            failed=self.failed,
            answers=self.answers,
            paths=self.paths,
            usage=self.usage,
            running=running,
            waiting=inside - running,
            documents=self.documents,
            reloads=self.reloads,
            reloads_done=self.reloads_done,
            trims=self.trims,
        )


class Counted:
    """One request that is counted."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._walked: dict[int, int] = {}

    def add(self, event: Event) -> None:
        """Take one more event."""
        if isinstance(event, Delta):
            if event.usage is not None:
                self._tally.usage += event.usage
            if event.finish_reason is not None:
                self._tally.answers += 1
                self._tally.paths += self._walked.get(event.index, 1)
        elif isinstance(event, Receipt):
            self._walked = {one.choice: one.walked for one in event.mpr}
