"""Event streams are parsed whatever the network makes of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openkimi_openai.sse import Event, EventParser

STREAM = (
    '\ufeffdata: {"a": 1}\n\n'
    ": a comment\n\n"
    "event: error\r\ndata:no space\r\nid: 7\r\n\r\n"
    "data: 你好 😀\rdata:  two lines\r\r"
    "retry: 5\n\n"
    "data\n\n"
    "data: [DONE]\n\n"
).encode()
EVENTS = [
    Event(data='{"a": 1}'),
    Event(data="no space", event="error"),
    Event(data="你好 😀\n two lines"),
    Event(data=""),
    Event(data="[DONE]"),
]


def parse(pieces: list[bytes]) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_pieces_of_any_size(size: int) -> None:
    """Where the bytes are split, inside characters and line ends too, changes nothing."""
    assert parse([STREAM[at : at + size] for at in range(0, len(STREAM), size)]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_pieces_split_anywhere(cuts: list[int]) -> None:
    """Any set of cuts gives the same events."""
    edges = [0, *sorted(cuts), len(STREAM)]

    assert parse([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == EVENTS


def test_an_event_comes_as_soon_as_its_blank_line() -> None:
    """Nothing waits for the next piece, whatever the line ends are."""
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        parser = EventParser()

        assert parser.feed(b"data: x") == []
        assert parser.feed(end) == [Event(data="x")]
        assert parser.end() == []


def test_a_missing_blank_line_at_the_end() -> None:
    """The last event counts even if the stream ends right after it."""
    assert parse([b"data: one\n\ndata: two"]) == [Event(data="one"), Event(data="two")]


def test_a_line_of_megabytes() -> None:
    """A line may be longer than any buffer, in many pieces."""
    pieces = [b"data: ", *[b"x" * 1000] * 4000, b"\n\n"]

    (event,) = parse(pieces)
    assert len(event.data) == 4_000_000
