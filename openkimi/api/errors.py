"""Errors as HTTP: the one place that turns exceptions into statuses and OpenAI's error shape."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from openkimi import held
from openkimi.api.request_id import missing_request_id
from openkimi.api.schemas import ErrorBody, ErrorDetail
from openkimi.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    DocumentNotFound,
    DocumentPreloaded,
    OpeningError,
    OpenKimiError,
    RequestError,
    StorageFull,
    UnsupportedFile,
    UpstreamError,
)
from openkimi.raised import kind_of_error, place_of

log = structlog.get_logger()

_STATUSES: tuple[tuple[type[OpenKimiError], int], ...] = (
    (DocumentNotFound, 404),
    (DocumentPreloaded, 403),
    (UnsupportedFile, 415),
    (RequestError, 400),
    (BackendTimeout, 504),
    (BackendUnavailable, 503),
    (BackendError, 502),
    (StorageFull, 507),
)
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "backend_error",
    503: "backend_unavailable",
    504: "backend_timeout",
}
_RETRY_AFTER = 5.0
_LONGEST_WAIT = 1e6


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An exception as a client gets to see it; ``retry_after`` is in seconds."""

    status: int
    detail: ErrorDetail
    retry_after: float | None = None
    headers: dict[str, str] = {}


def failure_of(error: BaseException) -> Failure:
    """Tell status and error body of any exception; one that nobody foresaw shows no details."""
    if isinstance(error, UpstreamError):
        status = _upstream_status(error.status)
        return _failure(status, error.message, error.param, error.code, error.retry_after)
    if isinstance(error, OpenKimiError) and not isinstance(error, OpeningError):
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        param, code = getattr(error, "param", None), getattr(error, "code", None)
        return _failure(status, error.message, param, code, getattr(error, "retry_after", None))
    if isinstance(error, HTTPException):
        code, retry_after = getattr(error, "code", None), getattr(error, "retry_after", None)
        failure = _failure(error.status_code, error.detail, None, code, retry_after)
        return msgspec.structs.replace(failure, headers=dict(error.headers or {}))
    return _failure(500, "the gateway failed; its log has the details", None, None, None)


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer with an error; the exception handler of routers and applications."""
    failure = failure_of(_explained(request, error))
    log_failure(failure, error)
    return _answer(request, failure)


def answer_unlogged(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer with an error that is no news to the operator."""
    return _answer(request, failure_of(error))


def _answer(request: Request[Any, Any, Any], failure: Failure) -> Response[bytes]:
    headers = {**failure.headers, **missing_request_id(request.scope)}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(failure.retry_after))
    return Response(
        msgspec.json.encode(ErrorBody(error=failure.detail)),
        status_code=failure.status,
        media_type="application/json",
        headers=headers,
    )


def _explained(request: Request[Any, Any, Any], error: Exception) -> Exception:
    """Say what is wrong where the framework only says that something is: an address or a parameter of it."""
    asked = f"{request.method} {request.url.path}"[:200]
    if isinstance(error, NotFoundException) and error.detail == "Not Found":
        hint = "" if request.url.path.startswith("/v1/") else "addresses begin with /v1, and "
        return NotFoundException(f"there is nothing at {asked}; {hint}/schema lists what there is")
    if isinstance(error, MethodNotAllowedException):
        allowed = (error.headers or {}).get("allow", "other methods")
        detail = f"{asked} is not served: the address takes {allowed}"
        return MethodNotAllowedException(detail, headers=error.headers)
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        name, reason = (str(error.extra[0].get(key, "")) for key in ("key", "message"))
        reason = f"{reason[:1].lower()}{reason[1:]}".replace("`", "")
        return RequestError(f"'{name}': {reason}", param=name, code="invalid_value")
    return error


def log_failure(failure: Failure, error: BaseException) -> None:
    """Log what the operator has to know; messages and tracebacks can quote a user, so they are for debug."""
    detail = failure.detail
    if failure.status < 500:
        log.info("request_refused", status=failure.status, code=detail.code, param=detail.param)
        return
    foreseen = isinstance(error, OpenKimiError | HTTPException)
    report, kind = (log.warning, type(error).__name__) if foreseen else (log.error, kind_of_error(error))
    place = {"reason": error.message} if isinstance(error, OpeningError) else {"at": _place(error)}
    report("request_failed", status=failure.status, error=kind, **place)
    log.debug("request_failed_because", exc_info=error)


def _place(error: BaseException) -> str:
    """Name the line, or the component and its method where one broke its contract."""
    place = place_of(error) or "unknown"
    found = held.raised_in(error) if place.startswith(held.__file__) else None
    return place if found is None else f"{found[0].name}.{found[1]}"


def _failure(
    status: int, message: str, param: str | None, code: str | None, retry_after: float | None
) -> Failure:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    if retry_after is not None and not 0 <= retry_after <= _LONGEST_WAIT:
        retry_after = None  # an infinite one would be no header
    if status in {429, 503} and retry_after is None:
        retry_after = _RETRY_AFTER
    detail = ErrorDetail(message=message, type=kind, param=param, code=code or _CODES.get(status))
    return Failure(status=status, detail=detail, retry_after=retry_after)


def _upstream_status(status: int) -> int:
    """Keep an upstream's meaning, except where it blames a caller for the gateway's own key."""
    if status in {400, 404, 408, 413, 415, 422, 429, 503, 504}:
        return status
    return 502
