"""Makes the grammar that holds an answer to a response format."""

from __future__ import annotations

from typing import Any

from openkimi import RequestError, ResponseFormat
from openkimi_gguf.gbnf import GrammarError, Rules
from openkimi_gguf.json_schema import SchemaRules


def grammar_for(response_format: ResponseFormat) -> str | None:
    """Write a response format as a GBNF grammar, None for plain text.

    The engine's own converter of schemas passes over what is wrong with one.

    Raises:
        RequestError: the JSON Schema is wrong, too large, or uses what the grammar cannot say.
    """
    if response_format.type == "text":
        return None
    schema: Any = {"type": "object"} if response_format.type == "json_object" else response_format.schema
    rules = Rules()
    try:
        written = SchemaRules({} if schema is None else schema, rules, strict=bool(response_format.strict))
        return rules.text(written.rule())
    except GrammarError as error:
        raise RequestError(
            f"response_format: the schema cannot be made into a grammar: {error}", param="response_format"
        ) from error
