"""From deltas to the output items of a response."""

from __future__ import annotations

from collections.abc import Iterator

from openkimi.api import responses_events as events
from openkimi.api import responses_schemas as wire
from openkimi.api.convert import logprobs_of
from openkimi.api.responses_items import OpenCall, OpenItem, OpenMessage, OpenReasoning
from openkimi.errors import BackendError
from openkimi.messages import Delta, FinishReason, ToolCallDelta, Usage


class Output:
    """The items of an answer while it is written, one after another; ``numbers`` counts the events."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.finish_reason: FinishReason = "stop"
        self.usage = Usage()
        self._numbers = numbers
        self._done: list[wire.OutputItem] = []
        self._open: OpenItem | None = None
        self._calls: set[int] = set()

    @property
    def items(self) -> list[wire.OutputItem]:
        """The items as they stand; one that has not ended is incomplete."""
        return [*self._done, self._open.item("incomplete")] if self._open else list(self._done)

    def add(self, delta: Delta) -> Iterator[events.Event]:
        """Take one more delta."""
        if delta.reasoning:
            yield from self._think(delta.reasoning)
        if delta.content or (delta.logprobs and not delta.reasoning and not delta.tool_calls):
            yield from self._say(delta)
        for piece in delta.tool_calls:
            yield from self._call(piece)
        self.finish_reason = delta.finish_reason or self.finish_reason
        if delta.usage is not None:
            self.usage += delta.usage

    def end(self) -> Iterator[events.Event]:
        """End the last item; an answer with nothing in it is an empty message."""
        cut = self.finish_reason in ("length", "content_filter")
        if self._open is None:
            yield from self._begin(OpenMessage(0, self._numbers))
        yield from self._close("incomplete" if cut else "completed")

    def _think(self, text: str) -> Iterator[events.Event]:
        item = self._open
        if not isinstance(item, OpenReasoning):
            item = OpenReasoning(self._next, self._numbers)
            yield from self._begin(item)
        yield item.add(text)

    def _say(self, delta: Delta) -> Iterator[events.Event]:
        item = self._open
        if not isinstance(item, OpenMessage):
            item = OpenMessage(self._next, self._numbers)
            yield from self._begin(item)
        logprobs = logprobs_of(delta.logprobs)
        yield item.add(delta.content, (logprobs and logprobs.content) or ())

    def _call(self, piece: ToolCallDelta) -> Iterator[events.Event]:
        item = self._open
        if not isinstance(item, OpenCall) or item.number != piece.index:
            if piece.index in self._calls:
                raise BackendError("the model went on with a function call that had ended")
            self._calls.add(piece.index)
            item = OpenCall(
                self._next,
                self._numbers,
                number=piece.index,
                call_id=piece.id,
                name=piece.name or "",
            )
            yield from self._begin(item)
        if piece.arguments:
            yield item.add(piece.arguments)

    @property
    def _next(self) -> int:
        return len(self._done) + (self._open is not None)

    def _begin(self, item: OpenItem) -> Iterator[events.Event]:
        yield from self._close("completed")
        self._open = item
        yield from item.begin()

    def _close(self, status: wire.ItemStatus) -> Iterator[events.Event]:
        if self._open is not None:
            yield from self._open.end(status)
            self._done.append(self._open.item(status))
            self._open = None
