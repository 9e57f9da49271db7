"""Calls of functions told from the text of an answer, in the dialects of chat templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from openkimi import ToolCallDelta
from openkimi_gguf.calling import CallParser
from openkimi_gguf.dialect import HERMES, LLAMA, MISTRAL, MISTRAL_ARGS, Dialect, dialect_of

NAMES = ("get_weather", "get", 'say "hi"')
ARGUMENTS = '{"city": "Par}is \\"x\\" </tool_call>", "of": [{"a": 1}]}'
ONE = {
    "hermes": (HERMES, '<tool_call>\n{"name": "get_weather", "arguments": %s}\n</tool_call>'),
    "bare": (HERMES, '{"name": "get_weather", "arguments": %s}'),
    "code": (HERMES, '```json\n{\n  "name": "get_weather",\n  "arguments": %s\n}\n```'),
    "llama": (LLAMA, '{"name": "get_weather", "parameters": %s}'),
    "llama-python-tag": (
        LLAMA,
        '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": %s}',
    ),
    "mistral": (MISTRAL, '[TOOL_CALLS] [{"name": "get_weather", "arguments": %s}]'),
    "mistral-args": (MISTRAL_ARGS, "[TOOL_CALLS]get_weather[ARGS]%s"),
}
SEVERAL = {
    "hermes": (
        HERMES,
        '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get", "arguments": {"a": 1}}\n</tool_call>',
    ),
    "mistral": (
        MISTRAL,
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {}}, {"name": "get", "arguments": {"a": 1}}]',
    ),
    "mistral-args": (MISTRAL_ARGS, '[TOOL_CALLS]get_weather[ARGS]{}[TOOL_CALLS]get[ARGS]{"a": 1}'),
}


def parsed(
    dialect: Dialect, text: str, size: int, begin: Callable[[str], bool] | None = None
) -> tuple[list[str], list[tuple[str, str]], list[ToolCallDelta]]:
    """Parse a text fed in pieces of ``size``: what is shown, the calls, and their pieces."""
    parser = CallParser(dialect, NAMES, begin=begin)
    steps = [parser.feed(text[at : at + size]) for at in range(0, len(text), size)]
    steps.append(parser.flush())
    pieces = [piece for step in steps for piece in step.calls]
    calls: dict[int, tuple[str, str]] = {}
    for piece in pieces:
        name, arguments = calls.get(piece.index, ("", ""))
        calls[piece.index] = (name + (piece.name or ""), arguments + piece.arguments)
    return [step.content for step in steps if step.content], list(calls.values()), pieces


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(("dialect", "written"), ONE.values(), ids=ONE)
def test_a_call_is_told_from_text(dialect: Dialect, written: str, size: int) -> None:
    """However it comes in pieces, a call is one: its id and name first, its arguments to the character."""
    shown, calls, pieces = parsed(dialect, written % ARGUMENTS, size)

    assert shown == []
    assert calls == [("get_weather", ARGUMENTS)]
    assert (pieces[0].id or "").startswith("call_")
    assert all(piece.id is None and piece.name is None for piece in pieces[1:])


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize(("dialect", "written"), SEVERAL.values(), ids=SEVERAL)
def test_several_calls_are_counted(dialect: Dialect, written: str, size: int) -> None:
    """Each further call has the next index and an id of its own."""
    shown, calls, pieces = parsed(dialect, written, size)

    assert shown == []
    assert calls == [("get_weather", "{}"), ("get", '{"a": 1}')]
    assert len({piece.id for piece in pieces if piece.id}) == 2


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_text_before_a_call_is_shown_without_its_marker(size: int) -> None:
    """What is said before a call is text; neither the marker nor the space before it shows."""
    text = 'Let me look.\n\n<tool_call>\n{"name": "get", "arguments": {}}\n</tool_call>'

    shown, calls, _ = parsed(HERMES, text, size)

    assert "".join(shown) == "Let me look."
    assert calls == [("get", "{}")]


@pytest.mark.parametrize("size", [1, 4, 10_000])
@pytest.mark.parametrize("dialect", [HERMES, LLAMA, MISTRAL, MISTRAL_ARGS])
@pytest.mark.parametrize(
    "text",
    [
        "Hello.",
        "  \n",
        "a < b and <tool_cal",
        'Write <tool_call> and then {"name": "x"}.',
        "<tool_call>get_weather(Paris)</tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "get", "arguments": "text"}</tool_call>',
        '{"name": "Bob", "age": 3}',
        '{"name": "get", "age": 3}',
        '{"name": "ge',
        '```json\n{"name": "Bob", "arguments": {}}\n```',
        "[TOOL_CALLS] none",
        "[TOOL",
    ],
)
def test_what_only_looks_like_a_call_is_text(dialect: Dialect, text: str, size: int) -> None:
    """An answer that has something of a call and is none is shown as it is, to the character."""
    shown, calls, _ = parsed(dialect, text, size)

    assert "".join(shown) == text
    assert calls == []


def test_text_is_not_held_back_for_nothing() -> None:
    """Text that cannot begin a call is passed on at once."""
    parser = CallParser(HERMES, NAMES)

    assert parser.feed("Hello").content == "Hello"
    assert parser.feed(" <b").content == " <b"
    assert parser.feed(" <tool").content == ""
    assert parser.feed("box>").content == " <toolbox>"


def test_half_a_call_is_not_shown() -> None:
    """A call that has begun for sure and is cut off before its name is known leaves no trace."""
    shown, calls, _ = parsed(HERMES, 'Well. <tool_call>\n{"name": "get', 3, begin=lambda _: True)

    assert ("".join(shown), calls) == ("Well.", [])


def test_a_call_that_is_cut_off_shows_what_there_is() -> None:
    """Arguments are passed on as they come, to where they end."""
    _, calls, _ = parsed(HERMES, '<tool_call>{"name": "get", "arguments": {"a": "x', 3)

    assert calls == [("get", '{"a": "x')]


def test_a_beginning_that_is_refused_is_text() -> None:
    """Where the grammar cannot hold what looks like a call, it is text, and a later call is a call."""
    asked: list[str] = []

    def begin(text: str) -> bool:
        asked.append(text)
        return len(asked) > 1

    text = 'The tag <tool_call> is one. <tool_call>{"name": "get", "arguments": {}}</tool_call>'
    shown, calls, _ = parsed(HERMES, text, 1, begin=begin)

    assert asked == ["<tool_call>", "<tool_call>"]
    assert "".join(shown) == "The tag <tool_call> is one."
    assert calls == [("get", "{}")]


def test_a_name_is_read_as_it_was_written() -> None:
    """A name that JSON escapes is given back as it is."""
    _, calls, _ = parsed(HERMES, '<tool_call>{"name": "say \\"hi\\"", "arguments": {}}</tool_call>', 2)

    assert calls == [('say "hi"', "{}")]


def test_text_after_the_calls_is_kept() -> None:
    """An engine that holds nothing by a grammar may say something after a call."""
    text = '<tool_call>{"name": "get", "arguments": {}}</tool_call>\nDone.'

    shown, calls, _ = parsed(HERMES, text, 4)

    assert ("".join(shown), len(calls)) == ("Done.", 1)


@pytest.mark.parametrize(
    ("parts", "dialect"),
    [
        (['<tool_call>{"name": ', '"arguments": '], HERMES),
        (['<tool_call>{\\"name\\": ', '\\"arguments\\": '], HERMES),
        (["<tool_call>", "<function=", "<parameter="], None),
        (["<|start_header_id|>", '{"name": "', '"parameters": '], LLAMA),
        (["[INST]", "[TOOL_CALLS] ["], MISTRAL),
        (["[TOOL_CALLS]", "[ARGS]"], MISTRAL_ARGS),
        (["<|im_start|>"], None),
        ([], None),
    ],
)
def test_the_dialect_is_known_by_the_template(parts: Sequence[str], dialect: Dialect | None) -> None:
    """A template says how its model writes calls; unknown ways are none."""
    assert dialect_of(" ".join(parts)) is dialect
