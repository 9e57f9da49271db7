"""What a route takes and gives, as it stands in the OpenAPI document.

Handlers read their bodies and write their answers themselves, so each names its structs here:
``@post(path, operation_class=generates(Request, Answer, events=Chunk))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from litestar.openapi.spec import Operation

JSON, EVENTS, TEXT, FORM = "application/json", "text/event-stream", "text/plain", "multipart/form-data"
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
    507: "The documents that are kept fill the memory: delete some, or raise `rag.max_size`.",
}
RETRIED = frozenset({429, 503})
"""The errors that come with ``Retry-After``."""

_ANY = (403, 500, 503)
_CALLER = (400, 401, 429, *_ANY)
_BODY = (*_CALLER, 404, 408, 413, 415, 422, 502, 504)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The types of a route's body, of its answer and of the events it can answer with instead.

    ``form`` is what the body can be as a form, ``files`` are the types of those that can be the body.
    """

    body: Any = None
    form: Any = None
    files: tuple[str, ...] = ()
    answer: Any = None
    media_type: str = JSON
    events: Any = None
    errors: tuple[int, ...] = _ANY
    keyed: bool = True

    @property
    def types(self) -> tuple[Any, ...]:
        """All of them, the body first."""
        return tuple(kind for kind in (*self.sent, self.answer, self.events) if kind is not None)

    @property
    def sent(self) -> tuple[Any, ...]:
        """The types of a body."""
        return tuple(kind for kind in (self.body, self.form) if kind is not None)


@dataclass
class ContractOperation(Operation):
    """An operation that knows its contract."""

    contract: ClassVar[Contract] = Contract()


def generates(body: Any, answer: Any, *, events: Any = None) -> type[Operation]:
    """Describe a route that reads a JSON body and asks the model.

    ``events`` is what an event of a stream holds, where the route streams.
    """
    return _operation(Contract(body=body, answer=answer, events=events, errors=_BODY))


def takes_files(body: Any, form: Any, files: Sequence[str], *, answer: Any) -> type[Operation]:
    """Describe a route that reads JSON, a form with a file, or a file of one of some types."""
    contract = Contract(body=body, form=form, files=tuple(files), answer=answer, errors=(*_BODY, 507))
    return _operation(contract)


def tells(answer: Any, *, errors: tuple[int, ...] = (), media_type: str = JSON) -> type[Operation]:
    """Describe a route under a key that reads no body; ``errors`` are those of its own."""
    return _operation(Contract(answer=answer, media_type=media_type, errors=(*_CALLER, *errors)))


def probes(answer: Any = None) -> type[Operation]:
    """Describe a route that anyone may ask."""
    return _operation(Contract(answer=answer, keyed=False))


def error_name(status: int) -> str:
    """Name an error's response, as in ``BadRequest``."""
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _operation(contract: Contract) -> type[Operation]:
    return type("_Operation", (ContractOperation,), {"contract": contract})
