"""Makes the grammar that holds an answer to a response format."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from openkimi import RequestError, ResponseFormat

# llama.cpp's parser refuses a little more than this, and prints the grammar when it does.
MOST_REPETITIONS = 1000
MOST_IN_ALL = 10_000
MOST_CHARACTERS = 200_000

# The converter lets strings hold raw line breaks, which JSON forbids.
_ANY_CHARACTER = r'[^"\\]'
_CHARACTER_OF_JSON = r'[^"\\\x7F\x00-\x1F]'
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_CHOICES = ("enum", "anyOf", "oneOf", "type")
_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def grammar_for(response_format: ResponseFormat) -> str | None:
    """Write a response format as a GBNF grammar, None for plain text.

    Raises:
        RequestError: the JSON Schema is wrong, too large, or uses what the grammar cannot say.
    """
    if response_format.type == "text":
        return None
    schema: Any = {"type": "object"} if response_format.type == "json_object" else response_format.schema
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        text = json.dumps(schema if schema is not None else {})
        _check_size(text, schema)
        return str(json_schema_to_gbnf(text)).replace(_ANY_CHARACTER, _CHARACTER_OF_JSON)
    except RequestError:
        raise
    except Exception as error:
        # The converter asserts and raises whatever comes.
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise unusable(reason) from error


def unusable(reason: str) -> RequestError:
    """Make the error for a schema that gives no grammar."""
    return RequestError(
        f"response_format: the schema cannot be made into a grammar: {reason}", param="response_format"
    )


def _check_size(text: str, schema: Any) -> None:
    """Refuse what the converter, which writes every repetition out, would fill the memory with."""
    if len(text) > MOST_CHARACTERS:
        raise unusable(f"it is longer than {MOST_CHARACTERS} characters")
    repetitions = [0, *_repetitions(schema)]
    if max(repetitions) > MOST_REPETITIONS or sum(repetitions) > MOST_IN_ALL:
        raise unusable(f"lengths and counts are at most {MOST_REPETITIONS}, {MOST_IN_ALL} in all")


def _repetitions(schema: Any) -> Iterator[int]:
    """Yield how often each keyword of a schema repeats something."""
    parts = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts.extend(part)
        if not isinstance(part, dict):
            continue
        parts.extend(part.values())
        if any(part.get(name) == [] for name in _CHOICES):
            raise unusable("a choice among nothing")
        for name in _COUNTS:
            if isinstance(part.get(name), int):
                yield part[name]
        if isinstance(pattern := part.get("pattern"), str):
            yield math.prod(max(int(low), int(high or 1)) + 1 for low, high in _REPEATED.findall(pattern))
