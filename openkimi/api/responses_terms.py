"""Errors about chat completions' fields, told by the names that these have in a response's request."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response

from openkimi.api.errors import handle
from openkimi.api.schemas import ErrorDetail
from openkimi.errors import RequestError, UpstreamError

_NAMES = {
    "messages": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
    "reasoning_effort": "reasoning.effort",
}


def handle_in_own_terms(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer with an error whose field is renamed; the exception handler of the route."""
    if isinstance(error, RequestError | UpstreamError):
        error.message, error.param = _renamed(error.message, error.param)
    return handle(request, error)


def in_own_terms(error: ErrorDetail) -> ErrorDetail:
    """Rename the field that an error names."""
    message, param = _renamed(error.message, error.param)
    return msgspec.structs.replace(error, message=message, param=param)


def _renamed(message: str, param: str | None) -> tuple[str, str | None]:
    """Rename the first step of a path such as ``messages[0].content``; the rest is another's numbering."""
    chat = (param or "").partition("[")[0].partition(".")[0]
    own = _NAMES.get(chat)
    if own is None:
        return message, param
    return message.replace(f"'{chat}'", f"'{own}'").replace(f"{chat}: ", f"{own}: "), own
