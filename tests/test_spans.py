"""Sentences: found in any language, by offsets that cut them out to the character."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openkimi.spans import Span, claims_of, sentences_of


def cut(text: str, spans: list[Span]) -> list[str]:
    return [text[span.start : span.end] for span in spans]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One is here. Two is there! Three?", ["One is here.", "Two is there!", "Three?"]),
        ("Mr. Smith met Dr. J. Doe at 5 p.m. in May.", ["Mr. Smith met Dr. J. Doe at 5 p.m. in May."]),
        ("It is 3.14, e.g. here. Yes.", ["It is 3.14, e.g. here.", "Yes."]),
        ('He said: "Go." Then he went.', ['He said: "Go."', "Then he went."]),
        ("他说：“好。”然后走了。第二句！", ["他说：“好。”", "然后走了。", "第二句！"]),
        ("- one\n2. two\n\n# Three", ["one", "two", "Three"]),
        ("42.", ["42."]),
        ("1.\n2.\n- \n", ["1.", "2.", "-"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, sentences: list[str]) -> None:
    """Full stops of abbreviations, numbers and initials end nothing; marks of lists belong to no sentence."""
    assert cut(text, claims_of(text)) == sentences


def test_wrapped_lines_of_a_passage_are_one_sentence() -> None:
    """A book's lines go on; a heading, a list and a blank line end what stands above them."""
    line = "The keeper of the lighthouse, who had been there for years"
    text = f"Chapter One\n\n{line}\nand longer, is called Finch. He is\nold:\n- one\n- two"

    assert cut(text, sentences_of(text)) == [
        "Chapter One",
        f"{line}\nand longer, is called Finch.",
        "He is\nold:",
        "one",
        "two",
    ]


def test_a_passage_without_sentences_comes_in_pieces() -> None:
    """What is quoted stays short, also of a table or of a text without any full stop."""
    text = "cell, " * 500

    pieces = cut(text, sentences_of(text))

    assert max(map(len, pieces)) <= 400
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(st.text(st.sampled_from("aB1 .!?。，\n-#\"”'é\u0301😀"), max_size=300))
def test_sentences_are_apart_in_order_and_miss_no_letter(text: str) -> None:
    """Spans never overlap or hold white space at their ends, and every letter is in one."""
    for spans in (claims_of(text), sentences_of(text)):
        assert all(one.end <= other.start for one, other in pairwise(spans))
        assert all(piece and piece == piece.strip() for piece in cut(text, spans))
        inside = "".join(cut(text, spans))
        assert sum(map(str.isalpha, inside)) == sum(map(str.isalpha, text))


@pytest.mark.parametrize("text", ["." * 200_000 + "x", "1." * 100_000 + "a", "- " * 100_000, "\n" * 200_000])
def test_no_text_takes_long(text: str) -> None:
    """The time grows with the text and not with its square."""
    began = time.process_time()
    claims_of(text)
    sentences_of(text)

    assert time.process_time() - began < 5
