"""Tells a caller whether the answer came from memory: the header ``x-openkimi-cache``."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

HEADER = b"x-openkimi-cache"


class Outcome:
    """How often the model's memory was asked for one HTTP request, and how often in vain."""

    def __init__(self) -> None:
        self.hits = self.misses = 0

    @property
    def header(self) -> list[tuple[bytes, bytes]]:
        """The header: ``hit`` where the model was not asked at all, none where nothing was looked up."""
        if not self.hits and not self.misses:
            return []
        return [(HEADER, b"miss" if self.misses else b"hit")]


_outcome: ContextVar[Outcome | None] = ContextVar("openkimi_response_cache", default=None)


def note(*, hit: bool) -> None:
    """Note what became of a look into the memory."""
    if (outcome := _outcome.get()) is not None:
        outcome.hits += hit
        outcome.misses += not hit


def telling(app: Any) -> Any:
    """Put the header into answers; it is known when the first of an answer is, and a stream starts."""

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        outcome = Outcome()

        async def send_with(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *outcome.header]
            await send(message)

        token = _outcome.set(outcome)
        try:
            await app(scope, receive, send_with)
        finally:
            _outcome.reset(token)

    return tell
