"""Two JSON Schemas as one that both hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openkimi_gguf.gbnf import GrammarError

MOST_CHOICES = 200
_LARGER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_TEXTS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id"}
)


def merged(one: Any, other: Any) -> Any:
    """Merge two schemas.

    Raises:
        GrammarError: they contradict each other, or cannot be merged.
    """
    if one is True or other is True:
        return other if one is True else one
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    whole = dict(one)
    for name, value in other.items():
        whole[name] = _both(name, whole[name], value) if name in whole else value
    return whole


def _both(name: str, one: Any, other: Any) -> Any:
    if one == other or name in _TEXTS:
        return one
    try:
        return _combined(name, one, other)
    except (TypeError, AttributeError) as error:
        raise GrammarError(f"'{name}' has a value of the wrong kind") from error


def _combined(name: str, one: Any, other: Any) -> Any:
    if name in _LARGER:
        return max(one, other)
    if name in _SMALLER:
        return min(one, other)
    if name == "type":
        return _types(one, other)
    if name == "enum":
        return [value for value in one if value in other]
    if name == "required":
        return [*one, *(value for value in other if value not in one)]
    if name in ("properties", "$defs", "definitions"):
        return {**one, **{key: _property(one, key, value) for key, value in other.items()}}
    if name in ("items", "additionalProperties", "propertyNames"):
        return _property({name: one}, name, other)
    if name in ("anyOf", "oneOf"):
        if len(one) * len(other) > MOST_CHOICES:
            raise GrammarError(f"'{name}' twice over makes more than {MOST_CHOICES} choices")
        return [{"allOf": [left, right]} for left in one for right in other]
    raise GrammarError(f"two schemas that are to hold both differ in '{name}'")


def _property(known: Mapping[str, Any], name: str, value: Any) -> Any:
    if name not in known or known[name] == value:
        return value
    if known[name] is False or value is False:
        return False
    return {"allOf": [known[name], value]}


def _types(one: Any, other: Any) -> Any:
    left = one if isinstance(one, list) else [one]
    right = other if isinstance(other, list) else [other]
    both = [kind for kind in left if kind in right]
    if "integer" in left + right and "number" in left + right and "integer" not in both:
        both.append("integer")
    if not both:
        raise GrammarError(f"nothing is both of the type {one!r} and {other!r}")
    return both[0] if len(both) == 1 else both
