"""Grammars in llama.cpp's notation, GBNF, put together rule by rule."""

from __future__ import annotations

import json
from typing import Any

# llama.cpp's parser refuses a little more than this, and prints the grammar when it does.
MOST_REPETITIONS = 1000
MOST_IN_ALL = 10_000

# Enough to write JSON over several lines, too little to run away in.
_SPACE = r'| " " | "\n" [ \t]{0,20}'
_UNICODE = "[0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}"
_PRIMITIVES = {
    "ws": _SPACE,
    "char": rf'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ({_UNICODE}))',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,14})',
    "number": 'integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "object": '"{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"',
    "array": '"[" ws (value ("," ws value)* ws)? "]"',
    "value": "object | array | string | number | boolean | null",
}
_USES = {
    "string": ("char",),
    "number": ("integer",),
    "object": ("ws", "string", "value"),
    "array": ("ws", "value"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class GrammarError(Exception):
    """There is no grammar for what is asked; the message says why, as the end of a sentence."""


class Rules:
    """The rules of a grammar, each known by its name; equal ones are kept once."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._repetitions = 0

    def add(self, body: str) -> str:
        """Keep a rule and return the name that stands for it."""
        if body not in self._names:
            self._names[body] = self.reserve()
            self.define(self._names[body], body)
        return self._names[body]

    def reserve(self) -> str:
        """Name a rule that is defined later, for what refers to itself."""
        name = f"r{len(self._bodies)}"
        self._bodies[name] = ""
        return name

    def define(self, name: str, body: str) -> None:
        """Say what a reserved name stands for."""
        self._bodies[name] = body

    def primitive(self, name: str) -> str:
        """Use one of JSON's own rules, such as ``string`` or ``value``."""
        if name not in self._bodies:
            self._bodies[name] = _PRIMITIVES[name]
            for used in _USES.get(name, ()):
                self.primitive(used)
        return name

    def repeat(self, item: str, low: int, high: int | None, *, size: int = 1) -> str:
        """Repeat a rule, a group or a class; ``size`` is how much one item repeats itself.

        Raises:
            GrammarError: the counts are too large, or the lower is above the higher.
        """
        if high is not None and high < low:
            raise GrammarError(f"a count of at least {low} and at most {high} is impossible")
        self._repetitions += max(low, high or 0) * size
        if max(low, high or 0) > MOST_REPETITIONS or self._repetitions > MOST_IN_ALL:
            raise GrammarError(f"lengths and counts are at most {MOST_REPETITIONS}, {MOST_IN_ALL} in all")
        known = {(0, 1): "?", (0, None): "*", (1, None): "+", (1, 1): ""}
        counts = f"{{{low},{'' if high is None else high}}}"
        return item + known.get((low, high), counts)

    def text(self, root: str) -> str:
        """Write the grammar down, beginning at a rule's body."""
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._bodies.items())]
        return "\n".join(lines)


def literal(text: str) -> str:
    """Write a text that stands for itself."""
    return '"' + "".join(_ESCAPES.get(character) or _visible(character) for character in text) + '"'


def json_literal(value: Any) -> str:
    """Write a JSON value that stands for itself."""
    return literal(json.dumps(value, ensure_ascii=False))


def _visible(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code < 0xE000:
        raise GrammarError("it holds half a character (a lone surrogate)")
    return f"\\x{code:02X}" if code < 0x20 or code == 0x7F else character
