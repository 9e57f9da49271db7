"""Makes the grammar that holds an answer to a response format."""

from __future__ import annotations

import json
from typing import Any

from openkimi import RequestError, ResponseFormat


def grammar_for(response_format: ResponseFormat) -> str | None:
    """Write a response format as a GBNF grammar, None for plain text.

    Raises:
        RequestError: the JSON Schema is wrong, or uses what the grammar cannot say.
    """
    if response_format.type == "text":
        return None
    schema: Any = {"type": "object"} if response_format.type == "json_object" else response_format.schema
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        return str(json_schema_to_gbnf(json.dumps(schema if schema is not None else {})))
    except Exception as error:  # the converter asserts and raises whatever comes
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise unusable(reason) from error


def unusable(reason: str) -> RequestError:
    """Make the error for a schema that gives no grammar."""
    return RequestError(
        f"response_format: the schema cannot be made into a grammar: {reason}", param="response_format"
    )
