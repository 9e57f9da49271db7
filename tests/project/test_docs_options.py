"""The tables of options in docs/configuration.md are made of the structs that check the config.

Run as a program, ``python tests/project/test_docs_options.py``, this writes them anew between their markers:
``<!-- options: server -->`` for a core section, ``<!-- options: llm.llama-cpp -->`` for a kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openkimi.plugins import SECTIONS, load_plugins
from openkimi.schema import _object
from openkimi.sections import LlmSection, MprSection, PluginsSection, RagSection, ServerSection

PAGE = Path(__file__).parents[2] / "docs/configuration.md"
TABLE = re.compile(r"<!-- options: (?P<name>[\w.-]+) -->\n(?P<table>.*?)<!-- end -->\n", re.DOTALL)
CORE: dict[str, type[msgspec.Struct]] = {
    "llm": LlmSection,
    "rag": RagSection,
    "mpr": MprSection,
    "server": ServerSection,
    "plugins": PluginsSection,
}


def structs() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """List every struct of options that has a field, with its place in the config."""
    yield from CORE.items()
    plugins = load_plugins()
    for role, place in SECTIONS.items():
        for provider in plugins.providers(role):
            if provider.config.__struct_fields__:
                yield f"{place.partition('.')[0]}.{provider.kind}", provider.config
    for name, struct in plugins.options.items():
        yield f"plugins.{name}", struct


STRUCTS = dict(structs())


def table_of(struct: type[msgspec.Struct]) -> str:
    """Write the options of a struct as a Markdown table."""
    schema = _object(struct)
    required = schema.get("required", ())
    rows = [_row(name, field, name in required) for name, field in schema["properties"].items()]
    return "\n".join(["| Option | Type | Default | Meaning |", "|---|---|---|---|", *rows, ""])


def _row(name: str, field: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{msgspec.json.encode(field.get('default')).decode()}`"
    meaning = field.get("description", "").replace("|", "\\|")
    return f"| `{name}` | {type_of(field)} | {default} | {meaning} |"


def type_of(field: dict[str, Any]) -> str:
    """Say in a few words what a field of a JSON Schema takes."""
    if "anyOf" in field:
        return " or ".join(type_of(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join("null" if value is None else f"`{value}`" for value in field["enum"])
    kind = field.get("type", "any value")
    if "$env" in field.get("description", "") and isinstance(kind, list):
        return "secret string"
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {type_of(field.get('items', {}))}"
    if kind == "object":
        return _object_type(field)
    return kind + _bounds(field)


def _object_type(field: dict[str, Any]) -> str:
    if "properties" in field:
        return f"object with {' and '.join(f'`{name}`' for name in field['properties'])}"
    values = field.get("additionalProperties")
    return f"object of {type_of(values)}s" if isinstance(values, dict) and values else "object"


def _bounds(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f" {low:g} to {high:g}"
    if low is not None:
        return f" ≥ {low:g}"
    return f" > {field['exclusiveMinimum']:g}" if "exclusiveMinimum" in field else ""


@pytest.mark.parametrize("name", STRUCTS)
def test_every_option_stands_in_the_configuration_page(name: str) -> None:
    """docs/configuration.md has each option with its type, its default and its description."""
    tables = {match["name"]: match["table"] for match in TABLE.finditer(PAGE.read_text("utf-8"))}

    assert tables.get(name) == table_of(STRUCTS[name]), f"run: python {Path(__file__).name}"


def test_no_table_is_left_of_what_is_gone() -> None:
    """Each table is of a section or a kind that exists."""
    assert {match["name"] for match in TABLE.finditer(PAGE.read_text("utf-8"))} == set(STRUCTS)


def test_every_option_says_what_it_means() -> None:
    """No option of a first-party kind or of the core lacks a description."""
    silent = [
        f"{place}.{name}"
        for place, struct in STRUCTS.items()
        for name, field in _object(struct)["properties"].items()
        if not field.get("description")
    ]

    assert not silent


def write_tables() -> None:
    """Write the tables anew."""

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- options: {match['name']} -->\n{table_of(STRUCTS[match['name']])}<!-- end -->\n"

    PAGE.write_text(TABLE.sub(fresh, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    write_tables()
