"""Downloads a file of known size and SHA-256, going on where an earlier attempt ended, in whichever run.

What has come is kept beside the target under the name of the hub's library, ``TARGET.incomplete``. The target
is named by its checksum, so what is there belongs to it whatever changed on the server meanwhile, and no
``If-Range`` is needed; the checksum is compared at the end.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
import structlog

from openkimi_gguf.progress import megabytes, size_of
from openkimi_gguf.sources import SourceError

SECONDS_OF_SILENCE = 30.0
ATTEMPTS = 6
"""How often in a row nothing may come."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
_BLOCK = 1 << 20
_UNFIT = frozenset({401, 403, 404, 410, 451})
_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")

_log = structlog.get_logger("openkimi_gguf")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A file on a server; ``headers`` go with the request, ``Authorization`` to no other server."""

    url: str
    size: int
    sha256: str
    headers: Mapping[str, str] = {}


class Interruption(Exception):
    """An attempt broke off; another may do better, after so many seconds where the server names them."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


def download(wanted: Wanted, target: Path, cancelled: threading.Event) -> None:
    """Fetch a file, or the rest of it, verify it and put it in its place; the caller holds a lock.

    Raises:
        SourceError: the server does not give it, it is damaged, or the disk is full.
    """
    partial = incomplete(target)
    have = size_of(partial)
    if have > wanted.size:
        partial.unlink()
    elif have:
        _log.info("model_fetch_goes_on", megabytes_so_far=megabytes(have))
    _check_space(target.parent, wanted.size - size_of(partial))
    try:
        with partial.open("ab") as file:
            persist(lambda: _attempt(wanted, file, cancelled), lambda: _end(file), cancelled)
            os.fsync(file.fileno())
    finally:
        if not size_of(partial):
            partial.unlink(missing_ok=True)
    if (found := sha256_of(partial)) != wanted.sha256:
        partial.unlink()
        raise SourceError(
            f"what came is damaged and was deleted: its SHA-256 is {found} instead of {wanted.sha256}"
        )
    partial.replace(target)


def incomplete(target: Path) -> Path:
    """Name the file that holds what has come of a target so far."""
    return target.with_name(f"{target.name}.incomplete")


def sha256_of(path: Path) -> str:
    """Compute the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def persist(attempt: Callable[[], None], size: Callable[[], int], cancelled: threading.Event) -> None:
    """Try until an attempt succeeds, with longer and longer pauses while nothing comes.

    Raises:
        SourceError: too many attempts in a row brought nothing, or it was cancelled.
    """
    failures, before = 0, size()
    while True:
        try:
            return attempt()
        except Interruption as error:
            failures = 1 if size() > before else failures + 1
            before = size()
            if failures >= ATTEMPTS:
                raise SourceError(str(error)) from error
            pause = min(error.seconds or FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT)
            _log.warning("model_fetch_interrupted", reason=str(error), seconds_to_next_attempt=pause)
            if cancelled.wait(pause):
                raise SourceError("it was interrupted") from error


def _attempt(wanted: Wanted, file: BinaryIO, cancelled: threading.Event) -> None:
    """Ask for what is missing and append it."""
    have = _end(file)
    if have == wanted.size:
        return
    with _requested(wanted, have, file) as response:
        if have and not _continues(response, have, wanted.size):
            have = file.truncate(0)
            if response.status == http.client.PARTIAL_CONTENT:
                raise Interruption("the server sent another part than was asked for")
        while block := response.read1(_BLOCK):
            have += file.write(block)
            if have > wanted.size:
                file.truncate(0)
                raise SourceError(f"the file has more than the {wanted.size} bytes that were announced")
            if cancelled.is_set():
                raise SourceError("it was interrupted")
    if have < wanted.size:
        raise Interruption(f"the connection ended after {have} of {wanted.size} bytes")


@contextmanager
def _requested(wanted: Wanted, start: int, file: BinaryIO) -> Iterator[http.client.HTTPResponse]:
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 - the opener knows HTTP only
    try:
        with _opener().open(request, timeout=SECONDS_OF_SILENCE) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                file.truncate(0)
                raise SourceError("the server has a shorter file than it announced") from error
            if error.code in _UNFIT:
                raise SourceError(f"the server answers {error.code} {error.reason}") from error
            after = error.headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() else None
            raise Interruption(f"the server answers {error.code} {error.reason}", seconds) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise SourceError(str(error.reason)) from error
        raise Interruption(str(error.reason)) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise Interruption(str(error) or type(error).__name__) from error


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener that speaks HTTP only, through the proxies that the environment names."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, with the key only on the server that it is for."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and _origin(newurl) != _origin(req.full_url):
            request.remove_header("Authorization")
        return request


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _continues(response: http.client.HTTPResponse, start: int, total: int) -> bool:
    """Tell whether an answer is the rest of the file from there on."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status != http.client.PARTIAL_CONTENT or match is None:
        return False
    return int(match["start"]) == start and match["total"] in {"*", str(total)}


def _end(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _check_space(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise SourceError(
            f"{missing / 1e6:.0f} MB are still to come, and {free / 1e6:.0f} MB are free in {folder}"
        )
