"""Output items while they are written, and the events that tell of each step."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

from openkimi.api import responses_events as events
from openkimi.api import responses_schemas as wire
from openkimi.api.schemas import TokenLogprob

E = TypeVar("E", bound=events.ItemEvent)


class OpenItem(ABC):
    """An item that is being written, at ``index`` among the items; ``numbers`` counts the events."""

    prefix: ClassVar[str]

    def __init__(self, index: int, numbers: Iterator[int]) -> None:
        self.id = f"{self.prefix}_{secrets.token_hex(24)}"
        self._index = index
        self._numbers = numbers

    @abstractmethod
    def item(self, status: wire.ItemStatus) -> wire.OutputItem:
        """Return the item as it stands; without content while it is in progress."""

    def begin(self) -> Iterator[events.Event]:
        """Tell that the item begins."""
        yield self._event(events.OutputItemAdded, item=self.item("in_progress"))

    def end(self, status: wire.ItemStatus) -> Iterator[events.Event]:
        """Tell that the item is whole, or all there will be."""
        yield self._event(events.OutputItemDone, item=self.item(status))

    def _event(self, kind: type[E], **fields: Any) -> E:
        return kind(sequence_number=next(self._numbers), output_index=self._index, **fields)


class OpenText(OpenItem):
    """An item with one part of text."""

    def __init__(self, index: int, numbers: Iterator[int]) -> None:
        super().__init__(index, numbers)
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """What has been written."""
        return "".join(self._texts)

    @abstractmethod
    def part(self) -> wire.OutputText | wire.ReasoningText:
        """Return the part as it stands."""

    @abstractmethod
    def done(self) -> events.Event:
        """Tell that the text is whole."""

    def begin(self) -> Iterator[events.Event]:
        """Tell that the item and its part begin."""
        yield from super().begin()
        yield self._event(events.ContentPartAdded, item_id=self.id, part=self.part())

    def end(self, status: wire.ItemStatus) -> Iterator[events.Event]:
        """Tell that the text, its part and the item are whole."""
        yield self.done()
        yield self._event(events.ContentPartDone, item_id=self.id, part=self.part())
        yield from super().end(status)


class OpenMessage(OpenText):
    """A message."""

    prefix = "msg"

    def __init__(self, index: int, numbers: Iterator[int]) -> None:
        super().__init__(index, numbers)
        self._logprobs: list[TokenLogprob] = []

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> events.Event:
        """Take a piece of the text."""
        self._texts.append(text)
        self._logprobs.extend(logprobs)
        return self._event(events.OutputTextDelta, item_id=self.id, delta=text, logprobs=list(logprobs))

    def part(self) -> wire.OutputText:
        """Return the text as it stands."""
        return wire.OutputText(text=self.text, logprobs=list(self._logprobs))

    def item(self, status: wire.ItemStatus) -> wire.MessageItem:
        """Return the message."""
        content = [] if status == "in_progress" else [self.part()]
        return wire.MessageItem(id=self.id, status=status, content=content)

    def done(self) -> events.Event:
        """Tell that the text is whole."""
        return self._event(
            events.OutputTextDone, item_id=self.id, text=self.text, logprobs=list(self._logprobs)
        )


class OpenReasoning(OpenText):
    """What the model thinks."""

    prefix = "rs"

    def add(self, text: str) -> events.Event:
        """Take a piece of the text."""
        self._texts.append(text)
        return self._event(events.ReasoningTextDelta, item_id=self.id, delta=text)

    def part(self) -> wire.ReasoningText:
        """Return the text as it stands."""
        return wire.ReasoningText(text=self.text)

    def item(self, status: wire.ItemStatus) -> wire.ReasoningItem:
        """Return the item."""
        content = [] if status == "in_progress" else [self.part()]
        return wire.ReasoningItem(id=self.id, status=status, content=content)

    def done(self) -> events.Event:
        """Tell that the text is whole."""
        return self._event(events.ReasoningTextDone, item_id=self.id, text=self.text)


class OpenCall(OpenItem):
    """A function call; ``number`` is that of its deltas."""

    prefix = "fc"

    def __init__(
        self, index: int, numbers: Iterator[int], *, number: int, call_id: str | None, name: str
    ) -> None:
        super().__init__(index, numbers)
        self.number = number
        self._call_id = call_id or f"call_{secrets.token_hex(12)}"
        self._name = name
        self._arguments: list[str] = []

    def add(self, arguments: str) -> events.Event:
        """Take a piece of the arguments."""
        self._arguments.append(arguments)
        return self._event(events.FunctionCallArgumentsDelta, item_id=self.id, delta=arguments)

    def item(self, status: wire.ItemStatus) -> wire.FunctionCallItem:
        """Return the call."""
        return wire.FunctionCallItem(
            id=self.id,
            status=status,
            call_id=self._call_id,
            name=self._name,
            arguments="".join(self._arguments),
        )

    def end(self, status: wire.ItemStatus) -> Iterator[events.Event]:
        """Tell that the arguments and the call are whole."""
        arguments = "".join(self._arguments)
        yield self._event(
            events.FunctionCallArgumentsDone, item_id=self.id, name=self._name, arguments=arguments
        )
        yield from super().end(status)
