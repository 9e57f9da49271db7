"""A response as a stream of named events."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from openkimi.api import responses_events as events
from openkimi.api.responses_input import Conversation
from openkimi.api.responses_object import ended, failed
from openkimi.api.responses_output import Output
from openkimi.api.responses_schemas import ResponseObject
from openkimi.api.responses_terms import in_own_terms
from openkimi.api.schemas import ErrorDetail
from openkimi.pipeline import AnswerPart
from openkimi.receipt import Receipt


class ResponseWriter:
    """Writes events from ``response.created`` to the one that says how it ended, which has the receipt."""

    def __init__(self, response: ResponseObject, conversation: Conversation) -> None:
        self._response = response
        self._conversation = conversation
        self._numbers = itertools.count()
        self._output = Output(self._numbers)

    def begin(self) -> Iterator[bytes]:
        """Write that the response was created and is in progress."""
        for kind in (events.ResponseCreated, events.ResponseInProgress):
            yield events.named(kind(sequence_number=next(self._numbers), response=self._response))

    def write(self, event: AnswerPart) -> Iterator[bytes]:
        """Write what a delta adds to the items."""
        if isinstance(event, Receipt):
            receipt = self._conversation.receipt(event)
            self._response = msgspec.structs.replace(self._response, openkimi=receipt)
            return
        yield from map(events.named, self._output.add(event))

    def end(self) -> Iterator[bytes]:
        """Write the end of the last item and of the response."""
        yield from map(events.named, self._output.end())
        response = ended(self._response, self._output)
        kind = events.ResponseCompleted if response.status == "completed" else events.ResponseIncomplete
        yield events.named(kind(sequence_number=next(self._numbers), response=response))

    def fail(self, error: ErrorDetail) -> Iterator[bytes]:
        """Write the error, then the response with what came of it."""
        error = in_own_terms(error)
        yield events.named(
            events.StreamError(
                sequence_number=next(self._numbers),
                code=error.code,
                message=error.message,
                param=error.param,
                error=error,
            )
        )
        response = failed(self._response, self._output, error)
        yield events.named(events.ResponseFailed(sequence_number=next(self._numbers), response=response))
