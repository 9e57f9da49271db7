"""A server that speaks as much of the Hugging Face hub's protocol as downloads need, and fails as told."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """What is on the hub, and how it behaves; each entry of a list is used up by one download."""

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    address: str = ""
    asked: list[tuple[str, str, Message]] = field(default_factory=list)
    """Method, path and headers of the requests."""

    ends: list[int] = field(default_factory=list)
    """After how many bytes a download is cut off; 0 is never."""
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Errors that answer a download instead of the file."""
    looks: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Errors that answer the request for a file's size and checksum."""
    sent: bytes | None = None
    """Other bytes to send than those announced."""
    ranges: bool = True
    elsewhere: Hub | None = None
    """A server that downloads are redirected to, as the hub's are to where its files lie."""
    silent: threading.Event = field(default_factory=threading.Event)
    """Set, a download sends nothing after its head."""

    def downloads(self) -> list[Message]:
        """Give the headers of the requests for a file's content."""
        return [headers for method, _, headers in self.asked if method == "GET"]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Let a hub answer on a port of loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            hub.silent.clear()
            server.shutdown()
            thread.join()


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    return Handler


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._begin(self.hub.looks, body=False)

    def do_GET(self) -> None:
        self._begin(self.hub.statuses, body=True)

    def _begin(self, errors: list[tuple[int, dict[str, str]]], *, body: bool) -> None:
        hub = self.hub
        content = self._content()
        if "/resolve/" in self.path:  # the library asks for other things, too
            hub.asked.append((self.command, self.path, self.headers))
        else:
            errors = []
        if errors:
            status, headers = errors.pop(0)
            self._head(status, {"Content-Length": "0", **headers})
        elif content is None:
            self._head(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
        else:
            known = {
                "X-Repo-Commit": hub.commit,
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
            }
            self._answer(content if hub.sent is None else hub.sent, known, body=body)

    def _answer(self, content: bytes, known: dict[str, str], *, body: bool) -> None:
        if (store := self.hub.elsewhere) is not None:
            place = f"{store.address}{self.path}?signature=x"
            self._head(302, {"Location": place, "Content-Length": "0", **known})
        elif (start := self._start()) and start >= len(content):
            self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
        else:
            part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            size = str(len(content) - start)
            self._head(206 if start else 200, {"ETag": '"another"', "Content-Length": size, **part, **known})
            if body:
                self._send(content[start:])

    def _start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.hub.ranges else 0

    def _send(self, content: bytes) -> None:
        while self.hub.silent.is_set():
            time.sleep(0.01)
        end = self.hub.ends.pop(0) if self.hub.ends else 0
        with suppress(ConnectionError):
            self.wfile.write(content[:end] if end else content)
        self.close_connection = True

    def _content(self) -> bytes | None:
        """Find a file by ``/REPO/resolve/REVISION/FILE``."""
        repo, _, rest = self.path.partition("?")[0].lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        known = revision in {"main", self.hub.commit}
        return self.hub.files.get(f"{repo}/{name}") if known else None

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""
