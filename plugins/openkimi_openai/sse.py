"""Server-sent events out of bytes that come in pieces of any size."""

from __future__ import annotations

import codecs
import re

import msgspec

_ONE_EVENT = re.compile(rb"data: [^\r\n]*\n\n")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event; ``data`` has its lines joined by line breaks."""

    data: str
    event: str = "message"


class EventParser:
    """Parses an event stream as the HTML standard says (section 9.2.6); lines may be of any length."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._pieces: list[str] = []
        self._after_cr = False
        self._data: list[str] = []
        self._event = ""
        self._between = True

    def feed(self, data: bytes) -> list[Event]:
        """Take more bytes and return the events they complete."""
        between, self._between = self._between, data.endswith(b"\n\n")
        if between and self._between and _ONE_EVENT.fullmatch(data):  # as nearly all come from nearly all
            return [Event(data=data[6:-2].decode("utf-8", "replace"))]
        return self._take(self._decoder.decode(data))

    def end(self) -> list[Event]:
        """Return what a stream that ended without a blank line still holds.

        The standard would drop it; servers that forget the last line break are common.
        """
        return self._take(self._decoder.decode(b"", final=True) + "\n\n")

    def _take(self, text: str) -> list[Event]:
        if self._after_cr and text:
            text, self._after_cr = text.removeprefix("\n"), False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if not lines:
            self._pieces.append(rest)
            return []
        lines[0] = "".join(self._pieces) + lines[0]
        self._pieces = [rest]
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        return None

    def _dispatch(self) -> Event | None:
        data, self._data = self._data, []
        event, self._event = self._event, ""
        return Event(data="\n".join(data), event=event or "message") if data else None


class WholeParser:
    """Makes one event of a body that is no event stream."""

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Take more bytes."""
        self._body += data
        return []

    def end(self) -> list[Event]:
        """Return the body."""
        return [Event(data=self._body.decode("utf-8", "replace"))]
