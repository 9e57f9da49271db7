"""Stop sequences: never shown, not even in part."""

from hypothesis import given
from hypothesis import strategies as st

from openkimi import StopFilter


def run(stop: list[str], pieces: list[str]) -> str:
    stopping = StopFilter(stop)
    shown = "".join(stopping.feed(piece) for piece in pieces)
    return shown if stopping.stopped else shown + stopping.flush()


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.text("ab\n", max_size=4), max_size=12),
)
def test_the_text_ends_before_the_first_stop_sequence(stop: list[str], pieces: list[str]) -> None:
    """However the text is cut into pieces, what is shown is what stands before the first sequence.

    The first is the one that is complete first.
    """
    text = "".join(pieces)
    ends = {at + len(word): at for word in stop if (at := text.find(word)) >= 0}
    expected = text[: min(text.find(word) for word in stop if word in text)] if ends else text

    assert text.startswith(shown := run(stop, pieces))
    assert not any(word in shown for word in stop)
    assert len(shown) >= len(expected)
    if not ends:
        assert shown == text


def test_a_sequence_across_pieces_is_held_back() -> None:
    """The beginning of a sequence is not shown until it is known to be something else."""
    stopping = StopFilter(["END"])

    assert [stopping.feed(piece) for piece in ("one E", "N", "C", "E", "ND two")] == [
        "one ",
        "",
        "ENC",
        "",
        "",
    ]
    assert stopping.stopped


def test_without_sequences_everything_passes() -> None:
    """An empty list, or an empty sequence, never stops."""
    assert run(["", ""], ["a", "b"]) == "ab"
