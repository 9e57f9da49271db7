"""Makes the smallest value that fits a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openkimi import RequestError

_DEPTH = 16


def minimal_instance(schema: Any) -> Any:
    """Make a small value that fits the common parts of JSON Schema.

    Known: ``const``, ``enum``, ``anyOf``/``oneOf`` (the first), ``allOf``, local ``$ref``, types with
    their bounds on length and value, ``required`` properties. Patterns and formats are not.

    Raises:
        RequestError: it is no JSON Schema.
    """
    try:
        return _instance(schema, schema, 0)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RequestError(f"a JSON Schema in the request is not valid ({type(error).__name__})") from error


def _instance(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None
    schema = _resolve(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return [_instance(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 0))]
    return _scalar(kind, schema)


def _resolve(schema: Mapping[str, Any], root: Any) -> Mapping[str, Any]:
    """Follow references and choices until a schema stands for itself."""
    for _ in range(_DEPTH):
        if "$ref" in schema:
            schema = _follow(schema["$ref"], root)
        elif branches := schema.get("anyOf") or schema.get("oneOf"):
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
            schema = {**rest, **branches[0]}
        elif "allOf" in schema:
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                merged.update(_resolve(part, root))
            schema = merged
        else:
            break
    return schema


def _follow(reference: str, root: Any) -> Mapping[str, Any]:
    target = root
    for step in reference.removeprefix("#").split("/")[1:]:
        target = target.get(step.replace("~1", "/").replace("~0", "~"), {})
    return target if isinstance(target, Mapping) else {}


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {name: _instance(properties.get(name, {}), root, depth + 1) for name in schema.get("required", ())}


def _scalar(kind: str | None, schema: Mapping[str, Any]) -> Any:
    if kind == "string":
        return "x" * schema.get("minLength", 0)
    if kind == "boolean":
        return False
    if kind in ("integer", "number"):
        return _number(schema)
    return None


def _number(schema: Mapping[str, Any]) -> float:
    """Pick zero, or the bound nearest to it."""
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    high = schema.get("maximum", schema.get("exclusiveMaximum", 0) - ("exclusiveMaximum" in schema))
    if low > 0:
        return low  # type: ignore[no-any-return]
    return min(high, 0)  # type: ignore[no-any-return]
