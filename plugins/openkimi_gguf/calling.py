"""Takes the calls of functions out of an answer while it is being written."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from openkimi import ToolCallDelta
from openkimi_gguf.dialect import Dialect

# Longer than what stands before a call's arguments, the name aside.
_LONGEST_HEAD = 400


class Parsed(NamedTuple):
    """What a piece of an answer says: text to show, and pieces of calls."""

    content: str = ""
    calls: tuple[ToolCallDelta, ...] = ()


class CallParser:
    """Tells calls from text; what may turn out to begin a call is held back until it is known.

    ``begin`` is asked whether a text that looks like the beginning of a call is one, as by a grammar that
    holds the answer from there on; it gets all of the text from where the call begins. Without it, text that
    looks like a call and turns out to be none is text.
    """

    def __init__(
        self, dialect: Dialect, names: Sequence[str], *, begin: Callable[[str], bool] | None = None
    ) -> None:
        self._begin = begin
        self._marker = dialect.marker
        self._bare = dialect.bare if dialect.marker else dialect
        self._openings = tuple(self._bare.openings(names)) if self._bare else ()
        self._use(dialect, names)
        self._longest = _LONGEST_HEAD + max(map(len, names), default=0)
        self._names = {dialect.name(name): name for name in names}
        self._known = names
        self._step = self._read_content
        self._held = ""
        self._content: list[str] = []
        self._pieces: list[ToolCallDelta] = []
        self._begun = 0
        self._at_start = True
        self._depth, self._in_string, self._escaped = 0, False, False

    @property
    def called(self) -> bool:
        """Whether the answer calls a function."""
        return self._begun > 0

    def feed(self, text: str) -> Parsed:
        """Take more of the answer."""
        self._held += text
        while self._step():
            pass
        return self._taken()

    def flush(self, *, cut_off: bool = False) -> Parsed:
        """Return what was held back, at the end of the answer; half a call is not shown.

        Neither is what could have become one, in an answer that was cut off.
        """
        unheld = self._step == self._read_head and self._begin is None
        if (self._step == self._read_content or unheld) and not cut_off:
            self._show(len(self._held))
        if self._step == self._read_tail:
            self._content.append(self._end.sub("", self._held, count=1).rstrip())
        self._held = ""
        return self._taken()

    def _taken(self) -> Parsed:
        parsed = Parsed("".join(self._content), tuple(self._pieces))
        self._content.clear()
        self._pieces.clear()
        return parsed

    def _show(self, size: int) -> None:
        self._at_start = self._at_start and not self._held[:size].strip()
        self._content.append(self._held[:size])
        self._held = self._held[size:]

    def _use(self, dialect: Dialect, names: Sequence[str]) -> None:
        self._head, self._further, self._end = dialect.head(names), dialect.further(names), dialect.end

    def _read_content(self) -> bool:
        if self._at_start and self._bare is not None and (begun := self._read_start()) is not None:
            return begun
        if not self._marker:
            self._show(len(self._held))
            return False
        at = self._held.find(self._marker)
        if at < 0:
            self._show(len(self._held) - self._possible())
            return False
        self._show(len(self._held[:at].rstrip()))
        if self._begins(self._held.lstrip()):
            self._step = self._read_head
        else:
            self._show(self._held.index(self._marker) + len(self._marker))
        return True

    def _read_start(self) -> bool | None:
        """Look whether the answer itself is a call; None when it is not."""
        compact = "".join(self._held.split())
        if not compact.startswith(self._openings):
            return False if any(opening.startswith(compact) for opening in self._openings) else None
        if self._bare is None or not self._begins(self._held.lstrip()):
            return None
        self._use(self._bare, self._known)
        self._step = self._read_head
        return True

    def _begins(self, text: str) -> bool:
        return self._begin is None or self._begin(text)

    def _possible(self) -> int:
        """Count the last characters that could begin a call, white space before it included."""
        text, marker = self._held, self._marker
        size = next((n for n in range(len(marker) - 1, 0, -1) if text.endswith(marker[:n])), 0)
        before = text[: len(text) - size]
        return size + len(before) - len(before.rstrip())

    def _read_head(self) -> bool:
        match = self._head.match(self._held)
        if match is not None:
            self._call(match["name"], match.end())
            return True
        if self._begin is None and len(self._held) > self._longest:
            self._show(self._longest)
            self._step = self._read_content
            return True
        return False

    def _read_arguments(self) -> bool:
        end = self._end_of_arguments()
        self._pieces.append(ToolCallDelta(index=self._begun - 1, arguments=self._held[:end]))
        self._held = self._held[end:]
        if self._depth:
            return False
        self._step = self._read_tail
        return True

    def _read_tail(self) -> bool:
        match = self._further.match(self._held)
        if match is None:
            return False
        self._call(match["name"], match.end())
        return True

    def _call(self, name: str, end: int) -> None:
        self._held = self._held[end:]
        self._pieces.append(
            ToolCallDelta(index=self._begun, id=f"call_{secrets.token_hex(12)}", name=self._names[name])
        )
        self._begun += 1
        self._step = self._read_arguments

    def _end_of_arguments(self) -> int:
        """Find where the arguments' object ends, the end of the text when it does not."""
        for at, character in enumerate(self._held):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self._depth = 0
                    return at + 1
        return len(self._held)
