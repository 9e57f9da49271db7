"""What a route takes and gives, as it stands in the OpenAPI document.

Handlers read their bodies and write their answers themselves, so each names its structs here:
``@post(path, operation_class=generates(Request, Answer, events=Chunk))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from litestar.openapi.spec import Operation

JSON, EVENTS = "application/json", "text/event-stream"
ERRORS = {
    400: "The request cannot be served as it is; `param` names the field at fault.",
    401: "No API key, or a wrong one.",
    403: "This caller may not come in.",
    404: "No such thing: an address, a document, or what the server behind the gateway does not have.",
    405: "The address exists, with another method; `Allow` names those.",
    408: "The request took too long to arrive.",
    413: "The body is larger than `server.max_body_size`.",
    415: "The body has a type or an encoding that is not read here.",
    422: "The server behind the gateway refused a value.",
    429: "Too many requests, here or at the server behind the gateway.",
    500: "A failure that nobody foresaw, or of the document memory; the log says more.",
    502: "The model, or the server behind the gateway, failed.",
    503: "The model is being loaded, too many requests wait for it, or it cannot be reached.",
    504: "The answer was not complete in time.",
}
RETRIED = frozenset({429, 503})
"""The errors that come with ``Retry-After``."""

_ANY = (403, 500, 503)
_CALLER = (400, 401, 429, *_ANY)
_BODY = (*_CALLER, 404, 408, 413, 415, 422, 502, 504)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The types of a route's body, of its JSON answer and of the events it can answer with instead."""

    body: Any = None
    answer: Any = None
    events: Any = None
    errors: tuple[int, ...] = _ANY
    keyed: bool = True

    @property
    def types(self) -> tuple[Any, ...]:
        """All of them, the body first."""
        return tuple(kind for kind in (self.body, self.answer, self.events) if kind is not None)


@dataclass
class ContractOperation(Operation):
    """An operation that knows its contract."""

    contract: ClassVar[Contract] = Contract()


def generates(body: Any, answer: Any, *, events: Any = None) -> type[Operation]:
    """Describe a route that reads a JSON body and asks the model.

    ``events`` is what an event of a stream holds, where the route streams.
    """
    return _operation(Contract(body=body, answer=answer, events=events, errors=_BODY))


def tells(answer: Any, *, errors: tuple[int, ...] = ()) -> type[Operation]:
    """Describe a route under a key that reads no body; ``errors`` are those of its own."""
    return _operation(Contract(answer=answer, errors=(*_CALLER, *errors)))


def probes(answer: Any = None) -> type[Operation]:
    """Describe a route that anyone may ask."""
    return _operation(Contract(answer=answer, keyed=False))


def error_name(status: int) -> str:
    """Name an error's response, as in ``BadRequest``."""
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _operation(contract: Contract) -> type[Operation]:
    return type("_Operation", (ContractOperation,), {"contract": contract})
