"""Puts what a JSON Schema refers to, and what it demands all at once, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from openkimi_gguf.gbnf import GrammarError
from openkimi_gguf.merging import merged

MOST_STEPS = 64
ANNOTATIONS = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "$defs",
    }
    | {"definitions", "$schema", "$id"}
)
"""Keywords that hold nothing."""


class References:
    """Finds what ``$ref`` points to within a schema."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def target(self, pointer: Any) -> Any:
        """Follow a JSON pointer (RFC 6901).

        Raises:
            GrammarError: it leads out of the schema, or nowhere.
        """
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise GrammarError(f"'$ref' points within the schema ('#/…'), not to {str(pointer)[:100]!r}")
        found = self._root
        for step in unquote(pointer[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (LookupError, TypeError, ValueError) as error:
                raise GrammarError(f"'$ref' points to {pointer[:100]!r}, which is not there") from error
        return found

    def resolved(self, schema: Any) -> Any:
        """Merge what a reference points to with the keywords beside it.

        Raises:
            GrammarError: the two contradict each other, or the references go round in circles.
        """
        for _ in range(MOST_STEPS):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                return schema
            schema = merged(_without(schema, "$ref"), self.target(schema["$ref"]))
        raise GrammarError(f"'{schema['$ref']}' refers to itself")

    def joined(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """Merge all parts of an ``allOf`` with the keywords beside it.

        Raises:
            GrammarError: they contradict each other, or go round in circles.
        """
        if depth > MOST_STEPS:
            raise GrammarError("'allOf' goes round in circles")
        whole: Any = _without(schema, "allOf")
        parts = schema["allOf"]
        if not isinstance(parts, list):
            raise GrammarError("'allOf' is a list")
        for each in parts:
            part = self.resolved(each)
            if isinstance(part, Mapping) and "allOf" in part:
                part = self.joined(part, depth + 1)
            whole = merged(whole, part)
        return whole


def _without(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != name}
