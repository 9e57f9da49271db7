"""Regular expressions of JSON Schema as grammars of the JSON strings they fit.

The syntax is that of ECMA-262, without what looks around or back. A pattern that is not anchored may fit
anywhere in the string, as JSON Schema has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from openkimi_gguf.gbnf import GrammarError, Rules, literal

Ranges = list[tuple[int, int]]

_LAST = 0x10FFFF
_DIGIT: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Ranges = [
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x2028, 0x2029),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
]
_SETS = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B, "0": 0x00}
# What no JSON string holds as it is, and how it is written there. Other controls are left out.
_UNWRITABLE: Ranges = [(0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
_WRITTEN = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}


class _Part(NamedTuple):
    expression: str
    size: int


def string_of(pattern: str, rules: Rules) -> str:
    """Write the grammar of the JSON strings that a pattern fits.

    Raises:
        GrammarError: the pattern is wrong, or uses what no grammar can say.
    """
    return rf'"\"" ({_Parser(pattern, rules).whole()}) "\""'


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str, rules: Rules) -> None:
        self._pattern = pattern
        self._rules = rules
        self._at = 0

    def whole(self) -> str:
        """Read the whole pattern, each branch with its anchors."""
        branches = [self._anchored()]
        while self._take("|"):
            branches.append(self._anchored())
        if self._at < len(self._pattern):
            raise self._wrong(f"'{self._pattern[self._at]}' stands at {self._at} where nothing ends")
        return " | ".join(branches)

    def _anchored(self) -> str:
        anything = f"{self._rules.primitive('char')}*"
        before = "" if self._take("^") else anything
        body = self._sequence().expression
        after = "" if self._take("$") else anything
        return " ".join(part for part in (before, body, after) if part)

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        expression = " | ".join(part.expression or '""' for part in parts)
        return _Part(f"({expression})", sum(part.size for part in parts))

    def _sequence(self) -> _Part:
        parts = []
        while self._at < len(self._pattern) and self._peek() not in "|)$":
            parts.append(self._quantified(self._atom()))
        return _Part(" ".join(part.expression for part in parts), sum(part.size for part in parts))

    def _atom(self) -> _Part:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._written(self._class())
        if character == ".":
            return self._written(_without([(0, _LAST)], [(0x0A, 0x0A), (0x0D, 0x0D)]))
        if character == "\\":
            return self._written(self._escaped())
        if character in "^*+?{":
            raise self._wrong(f"'{character}' has no place at {self._at - 1}")
        return self._written([(ord(character), ord(character))])

    def _group(self) -> _Part:
        if self._take("?"):
            if self._take("P"):
                pass
            if not self._take(":") and not self._name():
                raise self._wrong("what looks ahead or back cannot be said")
        inner = self._alternatives()
        if not self._take(")"):
            raise self._wrong("a parenthesis is not closed")
        return inner

    def _name(self) -> bool:
        """Pass over the name of a group; False for what looks behind."""
        if not self._take("<") or self._peek() in ("=", "!", ""):
            return False
        end = self._pattern.find(">", self._at)
        self._at = end + 1
        return end >= 0

    def _quantified(self, part: _Part) -> _Part:
        counts = self._counts()
        if counts is None:
            return part
        if self._peek() == "+":
            raise self._wrong("a possessive count cannot be said")
        self._take("?")
        low, high = counts
        item = self._rules.add(part.expression)
        return _Part(self._rules.repeat(item, low, high, size=part.size), part.size * max(low, high or 0, 1))

    def _counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        if not self._take("{"):
            return None
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at : end if end >= 0 else None].partition(",")
        self._at = end + 1
        if end < 0 or not low.isdecimal() or (high and not high.isdecimal()) or len(low + high) > 12:
            raise self._wrong(f"'{{{low}{comma}{high}}}' is no count")
        return int(low), (int(high) if high else None) if comma else int(low)

    def _class(self) -> Ranges:
        negated, ranges = self._take("^"), Ranges()
        while not self._take("]"):
            low = self._member()
            if (
                len(low) == 1
                and low[0][0] == low[0][1]
                and self._peek() == "-"
                and self._peek(1) not in ("]", "")
            ):
                self._next()
                high = self._member()
                if len(high) != 1 or high[0][1] < low[0][0]:
                    raise self._wrong("a range in brackets is out of order")
                low = [(low[0][0], high[0][1])]
            ranges += low
        return _without([(0, _LAST)], ranges) if negated else ranges

    def _member(self) -> Ranges:
        character = self._next()
        if character != "\\":
            return [(ord(character), ord(character))]
        if self._take("b"):
            return [(0x08, 0x08)]
        return self._escaped()

    def _escaped(self) -> Ranges:
        character = self._next()
        if character.lower() in _SETS:
            ranges = _SETS[character.lower()]
            return ranges if character.islower() else _without([(0, _LAST)], ranges)
        code = self._code(character)
        return [(code, code)]

    def _code(self, character: str) -> int:
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character == "x":
            return self._hexadecimal(2)
        if character == "u":
            return self._braced() if self._take("{") else self._hexadecimal(4)
        if character.isalnum():
            raise self._wrong(f"'\\{character}' cannot be said")
        return ord(character)

    def _braced(self) -> int:
        end = self._pattern.find("}", self._at)
        code = self._hexadecimal(end - self._at)
        self._at += 1
        return code

    def _hexadecimal(self, digits: int) -> int:
        text = self._pattern[self._at : self._at + max(digits, 0)]
        self._at += len(text)
        try:
            code = int(text, 16)
        except ValueError as error:
            raise self._wrong(f"'{text}' is no code of a character") from error
        if code > _LAST:
            raise self._wrong(f"'{text}' is no code of a character")
        return code

    def _written(self, ranges: Ranges) -> _Part:
        """Write one character out of a set as it stands in a JSON string."""
        plain = _without(ranges, _UNWRITABLE)
        choices = [f"[{''.join(_range(low, high) for low, high in plain)}]"] if plain else []
        choices += [literal(text) for code, text in _WRITTEN.items() if _holds(ranges, code)]
        if not choices:
            raise self._wrong("it asks for a character that no JSON string holds")
        return _Part(choices[0] if len(choices) == 1 else f"({' | '.join(choices)})", 1)

    def _peek(self, ahead: int = 0) -> str:
        return self._pattern[self._at + ahead : self._at + ahead + 1]

    def _next(self) -> str:
        if self._at >= len(self._pattern):
            raise self._wrong("it ends in the middle")
        self._at += 1
        return self._pattern[self._at - 1]

    def _take(self, character: str) -> bool:
        taken = self._peek() == character
        self._at += taken
        return taken

    def _wrong(self, reason: str) -> GrammarError:
        return GrammarError(f"the pattern '{self._pattern[:60]}': {reason}")


def _without(ranges: Iterable[tuple[int, int]], taken: Ranges) -> Ranges:
    """Take ranges of code points out of others."""
    left = list(ranges)
    for low, high in taken:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    return sorted(set(left))


def _holds(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


def _range(low: int, high: int) -> str:
    return _escape(low) if low == high else f"{_escape(low)}-{_escape(high)}"


def _escape(code: int) -> str:
    return f"\\U{code:08X}" if code > 0x7E or chr(code) in "\\]^-[" else chr(code)
