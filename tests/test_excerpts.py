"""Excerpts: which sentences of the ranked passages are worth their tokens."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from openkimi import Chunk, Hit, Sentence
from openkimi.excerpts import Sized, choose, excerpt_of, sentences_of

WORDS = 10


def hit(ordinal: int, weights: Sequence[float]) -> Hit:
    """Make a passage of sentences of ten characters and a blank, with the given weights."""
    text = "".join(f"s{ordinal:04}-{at:03} " for at in range(len(weights)))
    spans = [(at * WORDS, (at + 1) * WORDS) for at in range(len(weights))]
    start = ordinal * 1000
    return Hit(
        document_id="doc",
        chunk=Chunk(key=f"k{ordinal}", text=text, start=start, end=start + len(text), ordinal=ordinal),
        score=1.0,
        sentences=tuple(Sentence(*span, weight) for span, weight in zip(spans, weights, strict=True)),
    )


def sized(passage: Hit, heading: int = 0, tokens: int = 20) -> Sized:
    sentences = sentences_of(passage)
    return Sized(hit=passage, heading=heading, sentences=sentences, tokens=(tokens,) * len(sentences))


def test_what_matters_of_many_passages_beats_all_of_a_few() -> None:
    """With room for one passage and a half, the telling sentences of three are taken."""
    ranked = [sized(hit(ordinal, [0.05, 0.9, 0.05])) for ordinal in range(3)]

    chosen = choose(ranked, 3 * 23, None)

    assert [each.chunk.text for each in chosen] == ["s0000-001", "s0001-001", "s0002-001"]
    assert [each.chunk.start for each in chosen] == [10, 1010, 2010]


def test_a_passage_whose_sentences_all_matter_comes_whole() -> None:
    """Neighbours that are chosen together are one excerpt, with the passage's own offsets."""
    whole = hit(0, [0.34, 0.33, 0.33])
    chosen = choose([sized(whole), sized(hit(1, [0.34, 0.33, 0.33]))], 66, None)

    assert chosen[0] == whole


def test_a_passage_that_nobody_weighed_is_taken_whole_or_not() -> None:
    """Retrievers that tell nothing of sentences lose nothing."""
    plain = [Hit(document_id="doc", chunk=hit(at, [1.0]).chunk, score=1.0) for at in range(3)]

    assert choose([sized(each) for each in plain], 50, None) == plain[:2]


def test_the_number_of_passages_is_bounded() -> None:
    """``most`` counts passages, not excerpts of one."""
    ranked = [sized(hit(ordinal, [0.5, 0.0, 0.5])) for ordinal in range(5)]

    chosen = choose(ranked, 10_000, 2)

    assert {each.chunk.ordinal for each in chosen} == {0, 1}


def test_an_excerpt_stands_where_it_says() -> None:
    """Offsets are those of the text that is shown, without the white space around it."""
    passage = hit(3, [0.2, 0.3, 0.5])
    cut = excerpt_of(passage, 1, 2)

    shown = passage.chunk.text[cut.chunk.start - 3000 : cut.chunk.end - 3000]
    assert cut.chunk.text == shown == "s0003-001 s0003-002"
    assert [cut.chunk.text[each.start : each.end].strip() for each in cut.sentences] == [
        "s0003-001",
        "s0003-002",
    ]


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), max_size=8),
    st.integers(0, 400),
    st.integers(0, 9),
)
def test_the_room_is_kept(weights: list[list[float]], room: int, heading: int) -> None:
    """Whatever the weights, the chosen sentences with gaps and headings fit, and none is taken twice."""
    chosen = choose([sized(hit(at, each), heading) for at, each in enumerate(weights)], room, None)

    places = [place for each in chosen for place in range(each.chunk.start // 10, (each.chunk.end + 9) // 10)]
    passages = len({each.chunk.ordinal for each in chosen})
    assert len(places) == len(set(places))
    assert 20 * len(places) + heading * passages <= room
