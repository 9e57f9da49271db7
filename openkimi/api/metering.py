"""Counts the tokens of an answer while it passes, also of one that ends early."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from openkimi.messages import Usage
from openkimi.pipeline import Event
from openkimi.progress import Progress
from openkimi.receipt import Receipt


class Meter:
    """The tokens of an answer, as far as it came.

    A choice that ended tells them. Of one that did not, each piece counts as a token, and what was spent
    before it counts too, as does the prompt where no choice has ended: who leaves before the end has used the
    model all the same.
    """

    def __init__(self) -> None:
        self._prompt = 0
        self._spent: Counter[int] = Counter()
        self._pieces: Counter[int] = Counter()
        self._usage: dict[int, Usage] = {}

    def add(self, event: Event) -> None:
        """Take one more event."""
        if isinstance(event, Receipt):
            self._prompt = event.prompt_tokens
        elif isinstance(event, Progress):
            self._spent[event.choice or 0] += event.spent.total_tokens if event.spent else 0
        elif event.usage is not None:
            self._usage[event.index] = self._usage.get(event.index, Usage()) + event.usage
        elif event.content or event.reasoning or event.tool_calls:
            self._pieces[event.index] += 1

    @property
    def tokens(self) -> int:
        """All tokens so far, read and written."""
        told = sum(usage.prompt_tokens + usage.completion_tokens for usage in self._usage.values())
        untold = sum(
            tokens
            for counted in (self._pieces, self._spent)
            for index, tokens in counted.items()
            if index not in self._usage
        )
        return told + untold + (0 if self._usage else self._prompt)


async def metered(
    events: AsyncGenerator[Event, None], meter: Meter, charge: Callable[[int], Awaitable[None]]
) -> AsyncGenerator[Event, None]:
    """Pass events on and charge for their tokens at the end, whichever way it comes; a failure is free."""
    failed = False
    try:
        async with aclosing(events):
            async for event in events:
                meter.add(event)
                yield event
    except Exception:
        failed = True
        raise
    finally:
        if meter.tokens and not failed:
            await charge(meter.tokens)
