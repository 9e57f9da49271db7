"""Says in JSON's own words which field of a body is wrong, and what it may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec
from msgspec import inspect

from openkimi.errors import RequestError

_PATH = re.compile(r" - at `(?:key in )?\$\.?(?P<path>.*)`$")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_TYPES = re.compile(r"`([^`]*)`")
_STEP = re.compile(r"[^.\[\]]+")
_NO_SUCH = "invalid enum value "
_LONGEST = 300
_WORDS = {
    "array": "an array",
    "bool": "true or false",
    "float": "a number",
    "int": "an integer",
    "null": "null",
    "object": "an object",
    "str": "a string",
}


def field_error(error: msgspec.ValidationError, kind: object) -> RequestError:
    """Describe what a Struct of ``kind`` does not take; ``param`` is the path, as ``messages[2].role``."""
    text = str(error)
    match = _PATH.search(text)
    path = match["path"].removesuffix("[...]") if match else ""
    if missing := _MISSING.search(text):
        path = f"{path}.{missing['name']}".lstrip(".")
        return RequestError(f"'{path}' is required", param=path, code="missing_required_parameter")
    reason = _TYPES.sub(_in_words, text[: match.start()] if match else text)
    reason = reason[:1].lower() + reason[1:]
    if allowed := _allowed(kind, path) if reason.startswith(_NO_SUCH) else ():
        reason = f"there is no {_cut(reason.removeprefix(_NO_SUCH))}, send one of {', '.join(allowed)}"
    where = f"'{path}'" if path else "the body"
    return RequestError(f"{where}: {_cut(reason)}", param=path or None, code="invalid_value")


def _cut(text: str) -> str:
    """Keep an error short that quotes what was sent."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _in_words(match: re.Match[str]) -> str:
    names = [name for name in match[1].split(" | ") if name != "null"] or ["null"]
    return " or ".join(_WORDS.get(name, name) for name in names)


@lru_cache(maxsize=256)
def _type_info(kind: object) -> inspect.Type:
    return inspect.type_info(kind)


def _allowed(kind: object, path: str) -> tuple[str, ...]:
    """List the words that a field takes, by the types on the way to it."""
    nodes = [_type_info(kind)]
    for step in _STEP.findall(path):
        nodes = [child for node in _unions_apart(nodes) for child in _children(node, step)]
    literals = (node for node in _unions_apart(nodes) if isinstance(node, inspect.LiteralType))
    return tuple(f"'{value}'" for literal in literals for value in literal.values)


def _unions_apart(nodes: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    for node in nodes:
        if isinstance(node, inspect.UnionType):
            yield from _unions_apart(node.types)
        elif isinstance(node, inspect.Metadata):
            yield from _unions_apart([node.type])
        else:
            yield node


def _children(node: inspect.Type, step: str) -> Iterator[inspect.Type]:
    if isinstance(node, inspect.StructType):
        yield from (field.type for field in node.fields if field.encode_name == step)
    elif isinstance(node, inspect.ListType):
        yield node.item_type
