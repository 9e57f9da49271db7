"""JSON Schemas (draft 2020-12) as grammars of the JSON that fits them.

Held are types, ``properties`` in their order, ``required``, ``additionalProperties``, ``propertyNames``,
``items``, ``prefixItems``, lengths and counts, ``enum``, ``const``, ``pattern``, the formats below, bounds of
integers, and of numbers to the next whole one, ``anyOf``, ``oneOf`` (as ``anyOf``), ``allOf``, and ``$ref``
within the schema. An object that lists properties holds no others, unless ``additionalProperties`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from openkimi_gguf.gbnf import GrammarError, Rules, json_literal
from openkimi_gguf.limits import bounds, counts
from openkimi_gguf.merging import merged
from openkimi_gguf.numerals import decimals, whole_numbers
from openkimi_gguf.pattern import string_of
from openkimi_gguf.references import ANNOTATIONS, References

MOST_CHARACTERS = 200_000
MOST_DEPTH = 64
MOST_PARTS = 5000

# What a grammar cannot say. It is passed over, unless the schema is to be held strictly.
UNHELD = frozenset(
    {
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "multipleOf",
        "not",
        "patternProperties",
        "then",
        "uniqueItems",
    }
)
_KINDS = {
    "object": (
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
_DATE = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
_TIME = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? '
    '("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_HEX = "[0-9a-fA-F]"
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
}
_NOTHING: Mapping[str, Any] = {}


class SchemaRules:
    """Writes one schema into the rules of a grammar."""

    def __init__(self, schema: Any, rules: Rules, *, strict: bool = False) -> None:
        """Take a schema.

        Raises:
            GrammarError: it is too long.
        """
        if len(json.dumps(schema)) > MOST_CHARACTERS:
            raise GrammarError(f"it is longer than {MOST_CHARACTERS} characters")
        self._root = schema
        self._references = References(schema)
        self._rules = rules
        self._strict = strict
        self._known: dict[str, str] = {}
        self._depth = self._parts = 0

    def rule(self, schema: Any = _NOTHING) -> str:
        """Write the schema, or a part of it, and return the name of its rule.

        Raises:
            GrammarError: it is wrong, or asks for what no JSON fits.
        """
        self._depth += 1
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise GrammarError(f"it has more than {MOST_PARTS} parts, each counted as often as it is used")
        if self._depth > MOST_DEPTH:
            raise GrammarError(f"it is more than {MOST_DEPTH} levels deep")
        name = self._rule(self._root if schema is _NOTHING else schema)
        self._depth -= 1
        return name

    def _rule(self, schema: Any) -> str:
        if schema is True:
            return self._rules.primitive("value")
        if not isinstance(schema, Mapping):
            raise GrammarError("nothing fits false" if schema is False else "a schema is an object")
        self._check(schema)
        if "$ref" in schema:
            return self._reference(schema)
        if "allOf" in schema:
            return self._rule(self._references.joined(schema))
        for several in ("anyOf", "oneOf"):
            if several in schema:
                rest = {name: value for name, value in schema.items() if name != several}
                return self._any(merged(rest, each) for each in _list(schema, several))
        if "const" in schema or "enum" in schema:
            return self._constants(schema)
        return self._typed(schema)

    def _check(self, schema: Mapping[str, Any]) -> None:
        unheld = sorted(UNHELD.intersection(schema))
        if self._strict and unheld:
            raise GrammarError(f"'{unheld[0]}' cannot be held; leave it out, or leave 'strict' out")

    def _any(self, schemas: Any) -> str:
        names = list(dict.fromkeys(self.rule(schema) for schema in schemas))
        return names[0] if len(names) == 1 else self._rules.add(" | ".join(names))

    def _reference(self, schema: Mapping[str, Any]) -> str:
        if len(schema.keys() - ANNOTATIONS) > 1:
            return self._rule(self._references.resolved(schema))
        pointer = schema["$ref"]
        target = self._references.target(pointer)
        if pointer not in self._known:
            self._known[pointer] = self._rules.reserve()
            self._rules.define(self._known[pointer], self.rule(target))
        return self._known[pointer]

    def _constants(self, schema: Mapping[str, Any]) -> str:
        values = [schema["const"]] if "const" in schema else _list(schema, "enum")
        if "const" in schema and "enum" in schema:
            values = [value for value in values if value in _list(schema, "enum")]
        fitting = [value for value in values if _fits(value, schema.get("type"))]
        if not fitting:
            raise GrammarError("a choice among nothing")
        return self._rules.add(" | ".join(dict.fromkeys(map(json_literal, fitting))))

    def _typed(self, schema: Mapping[str, Any]) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._any({**schema, "type": each} for each in _list(schema, "type"))
        if schema.get("nullable") is True:
            return self._any([{**schema, "nullable": False}, {"type": "null"}])
        if kind is None:
            kind = next(
                (kind for kind, words in _KINDS.items() if any(word in schema for word in words)), "value"
            )
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return self._string(schema)
        if kind in ("integer", "number"):
            return self._number(schema, kind)
        if kind in ("boolean", "null", "value"):
            return self._rules.primitive(kind)
        raise GrammarError(f"'type' is {str(kind)[:100]!r}, which is no type of JSON")

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties = dict(_mapping(schema, "properties"))
        required = _list(schema, "required") if schema.get("required") else []
        if not all(isinstance(name, str) for name in required):
            raise GrammarError("'required' is a list of names")
        more = schema.get("additionalProperties", "properties" not in schema)
        for name in required:
            if name not in properties and schema.get("additionalProperties") is False:
                raise GrammarError(f"the property {str(name)[:100]!r} is required and not allowed")
            properties.setdefault(name, schema.get("additionalProperties", True))
        extra = None if more is False else self._extra(schema, more, list(properties))
        pairs = [
            (f'{json_literal(name)} ":" {self._ws} {self.rule(each)}', name in required)
            for name, each in properties.items()
        ]
        size = (0, None) if pairs else counts(schema, "minProperties", "maxProperties")
        return self._rules.add(f'"{{" {self._ws} {self._pairs(pairs, extra, size)} "}}"')

    def _extra(self, schema: Mapping[str, Any], more: Any, listed: Sequence[str]) -> str:
        """Write a property that is not listed."""
        if not listed and "propertyNames" in schema:
            key = self.rule(merged({"type": "string"}, schema["propertyNames"]))
        else:
            key = self._other_key(listed) if listed else self._rules.primitive("string")
        return self._rules.add(f'{key} ":" {self._ws} {self.rule(more)}')

    def _other_key(self, listed: Sequence[str]) -> str:
        """Write a key that is none of those listed."""
        self._rules.primitive("char")
        tree: dict[str, Any] = {}
        for name in listed:
            node = tree
            for character in name:
                node = node.setdefault(character, {})
            node[""] = {}
        return self._rules.add(rf'"\"" {self._unlike(tree)} "\""')

    def _unlike(self, node: dict[str, Any]) -> str:
        following = sorted(character for character in node if character)
        taken = "".join(f"\\U{ord(character):08X}" for character in following)
        choices = [rf'[^"\\\x7F\x00-\x1F{taken}] char*']
        choices += [
            f"[\\U{ord(character):08X}] {self._unlike(node[character])}"
            for character in following
            if character not in '"\\' and ord(character) > 0x1F
        ]
        return f"({' | '.join(choices)})" + ("" if "" in node else "?")

    def _pairs(
        self, pairs: Sequence[tuple[str, bool]], extra: str | None, size: tuple[int, int | None]
    ) -> str:
        """Write pairs in their order, of which some may be missing, with commas between them."""
        ws = self._ws
        if not pairs:
            return self._separated(extra, *size) if extra else ""
        after = self._rules.add(f'("," {ws} {extra})* {ws}' if extra else ws)
        first = self._rules.add(f'({extra} ("," {ws} {extra})* {ws})?') if extra else '""'
        for pair, needed in reversed(pairs):
            rest = after
            follow = f'"," {ws} {pair}'
            first = f"{pair} {rest}" if needed else self._rules.add(f"{pair} {rest} | {first}")
            after = self._rules.add(f"{follow if needed else f'({follow})?'} {rest}")
        return first

    def _separated(self, item: str, low: int, high: int | None) -> str:
        """Write items with commas between them."""
        ws = self._ws
        if high == 0:
            return self._rules.repeat(item, low, 0) and '""'
        further = self._rules.repeat(
            self._rules.add(f'"," {ws} {item}'), max(low - 1, 0), None if high is None else high - 1
        )
        return f"{item} {further} {ws}" if low else f"({item} {further} {ws})?"

    def _array(self, schema: Mapping[str, Any]) -> str:
        prefix, items = schema.get("prefixItems"), schema.get("items")
        if isinstance(items, list):
            prefix, items = items, schema.get("additionalItems", False)
        low, high = counts(schema, "minItems", "maxItems")
        if not prefix:
            inside = (
                self._separated(self.rule(True if items is None else items), low, high)
                if items is not False
                else ""
            )
            return self._rules.add(f'"[" {self._ws} {inside} "]"')
        if not isinstance(prefix, list):
            raise GrammarError("'prefixItems' is a list of schemas")
        listed = prefix[: len(prefix) if high is None else high]
        inside = f' "," {self._ws} '.join(self.rule(each) for each in listed)
        if isinstance(items, Mapping) and len(listed) == len(prefix):
            further = self._rules.add(f'"," {self._ws} {self.rule(items)}')
            most = None if high is None else high - len(listed)
            inside += f" {self._rules.repeat(further, max(low - len(listed), 0), most)}"
        return self._rules.add(f'"[" {self._ws} {inside} {self._ws} "]"')

    def _string(self, schema: Mapping[str, Any]) -> str:
        low, high = counts(schema, "minLength", "maxLength")
        if "pattern" in schema:
            if self._strict and (low, high) != (0, None):
                raise GrammarError(
                    "'pattern' and a length cannot be held both; say the length in the pattern"
                )
            return self._rules.add(string_of(str(schema["pattern"]), self._rules))
        if (written := _FORMATS.get(str(schema.get("format")))) is not None:
            return self._rules.add(rf'"\"" {written} "\""')
        if (low, high) == (0, None):
            return self._rules.primitive("string")
        characters = self._rules.repeat(self._rules.primitive("char"), low, high) if high != 0 else '""'
        return self._rules.add(rf'"\"" {characters} "\""')

    def _number(self, schema: Mapping[str, Any], kind: str) -> str:
        low, high = bounds(schema, whole=kind == "integer")
        if low is not None and high is not None and low > high:
            raise GrammarError(f"no {kind} is at least {low} and at most {high}")
        if low is None and high is None:
            return self._rules.primitive(kind)
        return self._rules.add(whole_numbers(low, high) if kind == "integer" else decimals(low, high))

    @property
    def _ws(self) -> str:
        return self._rules.primitive("ws")


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    value = schema[name]
    if not isinstance(value, list):
        raise GrammarError(f"'{name}' is a list")
    if not value:
        raise GrammarError(f"'{name}' is a choice among nothing")
    return value


def _mapping(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = schema.get(name, {})
    if not isinstance(value, Mapping):
        raise GrammarError(f"'{name}' is an object")
    return value


def _fits(value: Any, kind: Any) -> bool:
    kinds = kind if isinstance(kind, list) else [kind]
    return kind is None or any(_is(value, each) for each in kinds)


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if isinstance(value, int | float):
        return kind == "number" or (kind == "integer" and value == int(value))
    names = (("string", str), ("object", Mapping), ("array", list), ("null", type(None)))
    return any(kind == name and isinstance(value, python) for name, python in names)
