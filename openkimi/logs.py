"""Logging: readable lines on a terminal, JSON everywhere else, one stream for all."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import nullcontext, suppress
from typing import Any

import msgspec
import structlog

LEVELS = ("debug", "info", "warning", "error")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def configure_logging(level: str = "info") -> None:
    """Send structlog's and the standard library's records to stderr in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not sys.stderr.isatty()),
    ]
    render = _terminal() if sys.stderr.isatty() else _lines()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "asyncio", "lance", "lancedb", "httpx", "watchfiles"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    structlog.configure(
        processors=[*shared, *render],
        logger_factory=lambda *name: _Lines(handler),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Pass over requests that the end of the server ended: they are no failures."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class _Lines:
    """Writes finished lines where a handler writes its own; a record of the library for each costs 40 µs."""

    def __init__(self, handler: logging.StreamHandler[Any]) -> None:
        self._handler = handler

    def write(self, line: str) -> None:
        """Write a line; a log that cannot be written stops nobody."""
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            self._handler.stream.write(line + "\n")
            self._handler.flush()

    debug = info = warning = error = exception = critical = write


def _terminal() -> list[Any]:
    return [_tamed, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _tamed(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Show control characters, which a caller can put into an address, instead of obeying them."""
    return {
        key: value.translate(_CONTROLS) if isinstance(value, str) else value for key, value in event.items()
    }


def _lines() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]


def _json(event: dict[str, Any], **options: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=repr).decode()
    except UnicodeEncodeError:
        return json.dumps(event, **options)
