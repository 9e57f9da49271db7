"""Turns what a server or the network answers instead of a result into errors that say what to do."""

from __future__ import annotations

import email.utils
import os
import re
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from openkimi import Secret, UpstreamError
from openkimi_openai.address import Address

_LONGEST = 600
_DAY = 86_400.0


class Failure:
    """Words errors for one server; what it says is shown without keys."""

    def __init__(self, address: Address, section: str, secrets: Iterable[Secret]) -> None:
        self._address = address
        self._section = section
        self._place = f"{address.host} ({self._setting(address.url_from)})"
        self._secrets = [value for secret in secrets if (value := secret.reveal())]

    @property
    def place(self) -> str:
        """The server and the setting that names it, such as ``127.0.0.1:8080 (llm.api_url)``."""
        return self._place

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Make the error of an HTTP status, with the server's own message where it gave one.

        The names in ``headers`` are in lower case.

        What is said to a 401 is left out: servers repeat parts of the key there.
        """
        error = _error_object(body)
        if status == 401:
            message = f"{self.place} answered 401: {self._about_key()}"
        elif 300 <= status < 400:
            message = f"{self.place} redirects elsewhere ({status}): give the final address"
        else:
            said = self.said(error) or _first_line(body, headers) or "no reason given"
            message = f"{self._address.host} answered {status}: {said}"
        return UpstreamError(
            self.clean(message),
            status=status,
            param=_string(error, "param"),
            code=_string(error, "code"),
            retry_after=retry_after(headers.get("retry-after")),
        )

    def said(self, error: Any) -> str:
        """Find the message in what a server calls an error."""
        if isinstance(error, str):
            return self.clean(error)
        for key in ("message", "detail", "msg"):
            if isinstance(error, Mapping) and isinstance(error.get(key), str):
                return self.clean(error[key])
        return ""

    def clean(self, text: str) -> str:
        """Shorten a message to one line without any of our secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return re.sub(r"\s+", " ", text).strip()[:_LONGEST]

    def _about_key(self) -> str:
        if self._address.key is None:
            return (
                f"it wants a key; set {self._setting('api_key')} (OPENAI_API_KEY is not sent to this address)"
            )
        return f"it refuses the key; check {self._setting(self._address.key_from)}"

    def _setting(self, name: str) -> str:
        return name if name.isupper() else f"{self._section}.{name}"


def network_reason(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        if isinstance(error, socket.gaierror):
            return error.strerror or str(error)
        number = error.errno or _errno(str(error))
        if number is not None and number > 0:
            return os.strerror(number)
    return str(error) or type(error).__name__


def _errno(text: str) -> int | None:
    """Find the first number where several addresses of a host failed, each in its way."""
    match = re.search(r"\[Errno (\d+)\]", text)
    return int(match[1]) if match else None


def retry_after(value: str | None) -> float | None:
    """Read a ``Retry-After`` header, seconds or a date, as seconds from now, a day at most."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return min(float(value), _DAY)
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _DAY)


def _error_object(body: bytes) -> Any:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return answer.get("error") or answer if isinstance(answer, dict) else answer


def _first_line(body: bytes, headers: Mapping[str, str]) -> str:
    """Take an error page's text, unless it is HTML, which tells nobody anything."""
    if "html" in headers.get("content-type", "") or body.lstrip().startswith((b"<", b"{", b"[")):
        return ""
    return body.decode("utf-8", "replace").strip()[:_LONGEST]


def _string(error: Any, key: str) -> str | None:
    value = error.get(key) if isinstance(error, Mapping) else None
    return value if isinstance(value, str) else None
