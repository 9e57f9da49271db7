"""Lexical search over the documents in scope, and the weights of a passage's sentences."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.lexical import search_words
from openkimi_lancedb.parts import spans_of, unwrapped
from openkimi_lancedb.postings import Hashing, Postings, hash_of
from openkimi_lancedb.terms import Vocabulary
from openkimi_lancedb.weighing import weigh

FILLER = ["The road winds on through the hills.", "A cart stood in the yard.", "Rain fell in the valley."] * 6


def table(texts: Sequence[str]) -> ChunkTable:
    """Index texts, a chunk each, without a database."""
    hashing, vocabulary = Hashing(), Vocabulary()
    counted = [hashing.count(vocabulary.document_terms((), text)) for text in texts]
    rows = pa.table(
        {
            "terms": pa.array([hashes for hashes, _ in counted], pa.list_(pa.uint64())),
            "times": pa.array([times for _, times in counted], pa.list_(pa.uint16())),
        }
    )
    return ChunkTable(cast("Any", None), np.zeros(len(texts)), Postings.of(rows))


def test_postings_tell_who_has_a_term_and_how_often() -> None:
    """Each chunk that has a term is there once, with its count; an unknown term has none."""
    postings = table(["red red blue", "blue", "red green"]).postings

    ordinals, times = postings.find(hash_of("red"))
    assert (ordinals.tolist(), times.tolist()) == ([0, 2], [2, 1])
    assert postings.find(hash_of("violet"))[0].tolist() == []
    assert postings.lengths.tolist() == [3, 1, 2]


def test_two_documents_are_searched_as_one_collection() -> None:
    """A chunk has the score that it would have if all documents in scope were one."""
    one, other = (
        [*FILLER, "The lighthouse keeper is Orlando.", *FILLER],
        [*FILLER, "The keeper sleeps.", *FILLER],
    )
    terms = ["lighthous", "keeper"]

    apart = search_words({0: table(one), 1: table(other)}, terms)
    together = search_words({0: table([*one, *other])}, terms)

    assert apart.rarity == together.rarity
    assert apart.scores[0][len(FILLER)] == pytest.approx(together.scores[0][len(FILLER)])
    assert apart.scores[1][len(FILLER)] == pytest.approx(together.scores[0][len(one) + len(FILLER)])


def test_a_word_that_is_common_in_another_document_in_scope_counts_less() -> None:
    """Rarity is that in the scope: alone a document makes a word rare that is all over the other."""
    rare, common = table([*FILLER, "One tide."]), table(["The tide turns."] * 40)

    alone = search_words({0: rare}, ["tid"])
    beside = search_words({0: rare, 1: common}, ["tid"])

    assert beside.rarity["tid"] < alone.rarity["tid"]


def test_a_scope_without_the_words_finds_nothing() -> None:
    """No document, an empty one, no terms and unknown ones are no errors."""
    for tables, terms in (
        ({}, ["x"]),
        ({0: table([])}, ["x"]),
        ({0: table(FILLER)}, []),
        ({0: table(FILLER)}, ["x"]),
    ):
        assert not any(search_words(tables, terms).scores.values())


def test_the_sentence_with_the_words_weighs_most() -> None:
    """Shared rare words and a near meaning both lift a sentence, and every one keeps something."""
    text = (
        "The parish council met on the second Tuesday of the month in the usual hall. "
        "A veterinarian will examine the sheep of every farm before the first snow. "
        "The roof of the school is to be repaired with slate in the coming summer."
    )
    words = weigh(text, (), {"veterinarian": 5.0, "sheep": 4.0}, Vocabulary())
    meaning = weigh(text, (0.4, 0.1, 0.2, 0.7), {}, Vocabulary())

    assert max(words, key=lambda each: each.weight) == words[1]
    assert max(meaning, key=lambda each: each.weight) == meaning[2]
    assert min(each.weight for each in (*words, *meaning)) > 0.03


@given(st.text(alphabet=st.sampled_from('ab .!?\n。？；”"中文字'), min_size=1, max_size=400))
def test_sentences_cover_the_text_and_share_its_weight(text: str) -> None:
    """One follows the other without a gap, and the weights sum to 1."""
    sentences = weigh(text, (), {"a": 1.0}, Vocabulary())

    assert [each[:2] for each in sentences] == spans_of(text)
    assert sentences[0].start == 0
    assert sentences[-1].end == len(text)
    assert all(one.end == other.start for one, other in pairwise(sentences))
    assert sum(each.weight for each in sentences) == pytest.approx(1)


def test_lines_of_a_narrow_page_are_one_sentence() -> None:
    """A sentence that was broken to fit a page is whole again; lists, verse and code keep their lines."""
    wrapped = "The keeper of the old lighthouse on the cape, who had seen\nmany winters, went up the stairs."
    listed = "- the first thing that is to be bought at the market today\n- the second thing"

    assert unwrapped(wrapped) == wrapped.replace("\n", " ")
    assert unwrapped(listed) == listed
    assert len(unwrapped("a\n\nb\r\nc")) == len("a\n\nb\r\nc")
