"""Grammars of JSON Schemas, tried with llama.cpp's own reader of grammars."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
import pytest

from openkimi_gguf.gbnf import GrammarError, Rules
from openkimi_gguf.json_schema import SchemaRules
from openkimi_gguf.models import resolve

Accepts = Callable[[str, str], bool]
Schema = Any

CASES: list[tuple[Schema, list[str], list[str]]] = [
    (
        {"type": "integer", "minimum": 3, "maximum": 120},
        ["3", "7", "99", "120"],
        ["2", "121", "1000", "-3", "03"],
    ),
    ({"type": "integer", "minimum": -20, "maximum": 5}, ["-20", "-1", "0", "5"], ["-21", "6"]),
    ({"type": "integer", "exclusiveMinimum": 0}, ["1", "123456"], ["0", "-1"]),
    ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "0.5", "1", "1.0"], ["1.5", "-0.5", "2"]),
    ({"type": "number", "minimum": -2, "maximum": 10}, ["-2", "-1.5", "0.1", "9.99", "10"], ["-2.5", "10.5"]),
    ({"type": "number", "minimum": 0}, ["0", "0.5", "15.25", "1000000"], ["-1"]),
    ({"type": "number", "maximum": -3}, ["-3", "-3.5", "-100.25"], ["-2", "0", "3"]),
    (
        {"enum": ['a"b', "c\\d", "你好😀", 1, None, True, {"a": [1]}]},
        ['"a\\"b"', '"c\\\\d"', '"你好😀"', "1", "null", "true", '{"a": [1]}'],
        ['"x"', "2"],
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "null"}},
            "required": ["b"],
        },
        ['{"a": "x", "b": 1}', '{"b": 1}', '{"b":1,"c":null}', '{"a":"x","b":1,"c":null}', '{\n  "b": 1\n}'],
        ['{"a":"x"}', '{"b":1,"a":"x"}', '{"b":1,"d":1}', "{}", '{"b":1,}'],
    ),
    (
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
        ["{}", '{"a":"x"}', '{"b":2}', '{"a":"","b":2}'],
        ['{"b":2,"a":""}'],
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "ab": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": {"type": "string"},
        },
        ['{"a":1}', '{"a":1,"ab":2,"x":"y"}', '{"a":1,"abc":"q","b":"z","":"e"}'],
        ['{"a":1,"a":"y"}', '{"a":1,"ab":"y"}', '{"a":1,"x":2}'],
    ),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"q":1,"r":2}'], ['{"q":"x"}']),
    ({"type": "object"}, ["{}", '{"q":[1,{"z":null}]}'], ["[]"]),
    ({}, ["{}", "1", '"x"', "[true, false]"], [""]),
    (True, ["{}", "1"], ["x"]),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
        ["[1, 2]", "[1,2,3]"],
        ["[1]", "[1,2,3,4]", "[]"],
    ),
    (
        {"type": "array", "items": {"type": "array", "items": {"enum": ["x", "y"]}}},
        ["[]", '[["x"],[]]'],
        ["[1]"],
    ),
    ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    (
        {
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "integer"}],
            "items": {"type": "boolean"},
        },
        ['["a", 1]', '["a",1,true]'],
        ['["a"]', '["a",1,2]'],
    ),
    (
        {"type": "string", "minLength": 2, "maxLength": 4},
        ['"ab"', '"abcd"', '"你好"', '"\\n\\n"'],
        ['"a"', '"abcde"'],
    ),
    ({"type": "string", "maxLength": 0}, ['""'], ['"a"']),
    (
        {"type": "string", "pattern": "^[a-z]{2,3}-\\d+$"},
        ['"ab-1"', '"abc-123"'],
        ['"a-1"', '"ab-"', '"ab-1x"'],
    ),
    ({"type": "string", "pattern": "cat|dog"}, ['"a cat b"', '"dog"'], ['"bird"']),
    ({"type": "string", "pattern": '^(?:a|b(c)?)*\\."\\\\$'}, ['"abc.\\"\\\\"'], ['"abc."']),
    ({"type": "string", "pattern": '^[^\\s"]+@\\w+\\.com$'}, ['"x.y@mail.com"'], ['"x y@mail.com"']),
    ({"type": "string", "pattern": "^\\+?[1-9]\\d{1,14}$"}, ['"+4912345"'], ['"04"']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2024-13-01"']),
    ({"type": "string", "format": "date-time"}, ['"2024-02-29T12:00:00Z"'], ['"2024-02-29"']),
    ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"x"']),
    ({"type": ["string", "null"], "enum": ["a", None]}, ['"a"', "null"], ['"b"']),
    ({"type": ["integer", "null"], "minimum": 3}, ["3", "null"], ["2"]),
    (
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        ['"a"', '["a"]'],
        ["1"],
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        ['{"a":"1"}', '{"b":"1"}'],
        ["{}"],
    ),
    (
        {
            "$defs": {
                "P": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "kids": {"type": "array", "items": {"$ref": "#/$defs/P"}},
                    },
                    "required": ["name"],
                }
            },
            "$ref": "#/$defs/P",
        },
        ['{"name":"a","kids":[{"name":"b"}]}'],
        ['{"kids":[]}'],
    ),
    (
        {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["next"],
        },
        ['{"next":{"next":null}}'],
        ['{"next":1}'],
    ),
    (
        {
            "$defs": {"a/b": {"type": "integer"}},
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/a~1b", "description": "q"}},
            "required": ["x"],
        },
        ['{"x":1}'],
        ['{"x":"a"}'],
    ),
    (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            ]
        },
        ['{"a":1,"b":"x"}'],
        ['{"a":1}'],
    ),
    ({"const": "x y"}, ['"x y"'], ['"x"']),
    (
        {
            "type": "object",
            "propertyNames": {"enum": ["x", "y"]},
            "additionalProperties": {"type": "integer"},
        },
        ['{"x":1}', "{}"],
        ['{"z":1}'],
    ),
]
UNUSABLE: list[Schema] = [
    False,
    [1],
    {"type": "banana"},
    {"enum": []},
    {"anyOf": {}},
    {"properties": []},
    {"required": "a"},
    {"required": [1]},
    {"minItems": -1, "type": "array"},
    {"$ref": "#/nowhere"},
    {"$ref": "https://example.com/schema"},
    {"allOf": [{"$ref": "#"}]},
    {"allOf": [{"type": "string"}, {"type": "integer"}]},
    {"type": "integer", "minimum": 5, "maximum": 3},
    {"type": "object", "required": ["a"], "additionalProperties": False},
    {"type": "string", "maxLength": 10**9},
    {"type": "string", "minLength": 4, "maxLength": 3},
    {"type": "string", "pattern": "^((a{99}){99}){99}$"},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "string", "pattern": r"(a)\1"},
    {"type": "string", "pattern": "(a"},
    {"type": "string", "pattern": "a)"},
    {"type": "string", "pattern": "[b-a]"},
    {"type": "string", "pattern": "*"},
]


def grammar(schema: Schema, *, strict: bool = False) -> str:
    rules = Rules()
    return rules.text(SchemaRules(schema, rules, strict=strict).rule())


@pytest.fixture(scope="module")
def accepts() -> Accepts:
    """Tell whether a grammar accepts a text to its end, with the vocabulary of the default model."""
    from openkimi_llama_cpp.library import load_library
    from openkimi_llama_cpp.vocabulary import Vocabulary

    library = load_library()
    parameters = library.llama_model_default_params()
    parameters.vocab_only = True
    path = str(resolve("smollm2-135m-instruct")).encode()
    vocabulary = Vocabulary(library, library.llama_model_load_from_file(path, parameters))
    fields = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    end = next(token for token in range(vocabulary.size) if vocabulary.ends(token))

    def allowed(sampler: Any, token: int) -> bool:
        candidate = np.zeros(1, fields)
        candidate["id"] = token
        data = candidate.ctypes.data_as(library.llama_token_data_p)
        array = library.llama_token_data_array(data=data, size=1, selected=-1, sorted=False)
        library.llama_sampler_apply(sampler, ctypes.byref(array))
        return bool(np.isfinite(candidate["logit"][0]))

    def accept(grammar: str, text: str) -> bool:
        sampler = library.llama_sampler_init_grammar(vocabulary.handle, grammar.encode(), b"root")
        assert sampler, grammar
        try:
            for token in vocabulary.tokenize(text):
                if not allowed(sampler, token):
                    return False
                library.llama_sampler_accept(sampler, token)
            return allowed(sampler, end)
        finally:
            library.llama_sampler_free(sampler)

    return accept


@pytest.mark.model
@pytest.mark.parametrize(("schema", "fitting", "others"), CASES, ids=lambda case: str(case)[:60])
def test_a_grammar_holds_what_its_schema_says(
    accepts: Accepts, schema: Schema, fitting: list[str], others: list[str]
) -> None:
    """JSON that fits a schema is accepted, other JSON and other texts are not."""
    written = grammar(schema)

    assert [text for text in fitting if accepts(written, text)] == fitting
    assert [text for text in others if accepts(written, text)] == []
    for text in fitting:
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("schema", UNUSABLE, ids=str)
def test_what_has_no_grammar_is_refused(schema: Schema) -> None:
    """A schema that is wrong, contradicts itself or is too large is refused with a reason."""
    with pytest.raises(GrammarError, match=r"\w+ \w+"):
        grammar(schema)


def test_what_is_not_held_is_refused_where_it_has_to_be() -> None:
    """A keyword that no grammar can say is passed over, but not under ``strict``."""
    schema = {"type": "array", "items": {"type": "integer", "multipleOf": 5}}

    assert grammar(schema)
    with pytest.raises(GrammarError, match="multipleOf"):
        grammar(schema, strict=True)


def test_references_that_multiply_are_bounded() -> None:
    """A small schema that refers to itself over and over cannot fill the memory."""
    definitions: dict[str, Any] = {
        f"a{at}": {"anyOf": [{"$ref": f"#/$defs/a{at + 1}", "minProperties": n} for n in range(2)]}
        for at in range(40)
    }
    definitions["a40"] = {"type": "object"}

    with pytest.raises(GrammarError, match="parts"):
        grammar({"$defs": definitions, "$ref": "#/$defs/a0"})


def test_depth_is_bounded() -> None:
    """A schema of hundreds of levels is refused, not a crash."""
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"type": "array", "items": schema}

    with pytest.raises(GrammarError, match="levels"):
        grammar(schema)
