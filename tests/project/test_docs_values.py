"""The tables of values in docs/plugins.md name the fields of what contracts give and take.

Run as a program, ``python tests/project/test_docs_values.py``, this writes their fields, types and defaults
anew between ``<!-- value: Hit -->`` and ``<!-- end -->``; what a field means is written by hand and kept.
"""

from __future__ import annotations

import inspect
import re
import types
from collections import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

import openkimi
from openkimi import Backend, ContextSampler, Embedder, Generate, Processor, Retriever, Synthesizer

PAGE = Path(__file__).parents[2] / "docs/plugins.md"
TABLE = re.compile(r"<!-- value: (?P<name>\w+) -->\n(?P<table>.*?)<!-- end -->\n", re.DOTALL)
ROW = re.compile(r"^\| `(?P<name>\w+)` \|.*?(?<!\\)\|.*?(?<!\\)\| (?P<meaning>.*) \|$", re.MULTILINE)
HEAD = ["| Field | Type | Default | Meaning |", "|---|---|---|---|"]
CONTRACTS = (Backend, Embedder, Processor, Retriever, ContextSampler, Synthesizer, Generate)


class Field(NamedTuple):
    """A field of a value."""

    name: str
    type: str
    default: str


def values() -> dict[str, type]:
    """Find every value that a method of a contract takes or returns, and those within it."""
    found: dict[str, type] = {}
    for contract in CONTRACTS:
        for _, member in inspect.getmembers(contract):
            function = member.fget if isinstance(member, property) else member
            if inspect.isfunction(function) and function.__module__ == "openkimi.contracts":
                for hint in get_type_hints(function).values():
                    _collect(hint, found)
    return found


def _collect(hint: Any, found: dict[str, type]) -> None:
    for part in get_args(hint):
        _collect(part, found)
    if _is_value(hint) and hint.__name__ not in found:
        found[hint.__name__] = hint
        for each in get_type_hints(hint).values():
            _collect(each, found)


def _is_value(hint: Any) -> bool:
    return isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or hasattr(hint, "_fields"))


def fields_of(value: type) -> Iterator[Field]:
    """List the fields of a value with their types and defaults, as a page tells them."""
    hints = get_type_hints(value)
    defaults = (
        {field.name: field.default for field in msgspec.structs.fields(value) if not field.required}
        if issubclass(value, msgspec.Struct)
        else {}
    )
    for name in value._fields if hasattr(value, "_fields") else value.__struct_fields__:
        default = f"`{_default(defaults[name])}`" if name in defaults else "required"
        yield Field(name, type_of(hints[name]), default)


def _default(default: Any) -> str:
    return "{}" if default is msgspec.NODEFAULT else repr(default)


def type_of(hint: Any) -> str:
    """Say in a few words what a field holds."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f'`"{part}"`' for part in parts)
    if origin in {Union, types.UnionType}:
        return " or ".join("None" if part is type(None) else type_of(part) for part in parts)
    if origin is tuple:
        return f"tuple of {type_of(parts[0])}"
    if origin in {abc.Sequence, abc.AsyncIterator}:
        return f"{origin.__name__} of {type_of(parts[0])}"
    if origin is abc.Mapping:
        return f"Mapping of {type_of(parts[0])} to {type_of(parts[1])}"
    if hint is Any:
        return "anything"
    return f"`{hint.__name__}`" if _is_value(hint) else str(hint.__name__)


def table_of(value: type, meanings: dict[str, str]) -> str:
    """Write the fields of a value as a Markdown table."""
    rows = [
        f"| `{name}` | {kind} | {default} | {meanings.get(name, '')} |"
        for name, kind, default in fields_of(value)
    ]
    return "\n".join([*HEAD, *rows, ""])


def meanings_in(table: str) -> dict[str, str]:
    """Read what the rows of a table say of their fields."""
    return {match["name"]: match["meaning"] for match in ROW.finditer(table)}


VALUES = values()


@pytest.mark.parametrize("name", VALUES)
def test_every_field_of_a_value_stands_in_the_reference(name: str) -> None:
    """docs/plugins.md has each field with its type, its default and its meaning, and no other."""
    tables = {match["name"]: match["table"] for match in TABLE.finditer(PAGE.read_text("utf-8"))}
    meanings = meanings_in(tables.get(name, ""))

    assert tables.get(name) == table_of(VALUES[name], meanings), f"run: python {Path(__file__).name}"
    assert all(meanings.values()), "say what each field means"


@pytest.mark.parametrize("name", VALUES)
def test_what_a_value_can_do_stands_in_the_reference(name: str) -> None:
    """Each public property and method of a value is named before its table; the value itself is exported."""
    shown = PAGE.read_text("utf-8").partition(f"<!-- value: {name} -->")[0].rpartition("<!-- end -->")[2]
    members = {each for each in vars(VALUES[name]) if not each.startswith("_")}
    members -= {field.name for field in fields_of(VALUES[name])}

    assert getattr(openkimi, name) is VALUES[name]
    assert not [each for each in members if not re.search(rf"`(?:\w+\.)?{each}[`(]", shown)]


def test_no_table_is_left_of_a_value_that_is_gone() -> None:
    """Each table is of a value that a contract knows."""
    assert {match["name"] for match in TABLE.finditer(PAGE.read_text("utf-8"))} == set(VALUES)


def write_tables() -> None:
    """Write the tables anew, with the meanings that they have."""

    def fresh(match: re.Match[str]) -> str:
        value, meanings = VALUES[match["name"]], meanings_in(match["table"])
        return f"<!-- value: {match['name']} -->\n{table_of(value, meanings)}<!-- end -->\n"

    PAGE.write_text(TABLE.sub(fresh, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    write_tables()
