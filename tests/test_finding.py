"""Rankings that are made of several."""

from itertools import pairwise
from typing import Any

import pytest

from openkimi import Chunk, Hit
from openkimi.finding import fuse, take_turns


def hit(at: int, score: float) -> Hit:
    chunk = Chunk(key=str(at), text="text", start=10 * at, end=10 * at + 4, ordinal=at)
    return Hit(document_id="doc_1", chunk=chunk, score=score, lexical=7.0)


ONE = [hit(0, 0.3), hit(1, 0.2), hit(2, 0.1)]
OTHER = [hit(2, 0.9), hit(3, 0.8), hit(0, 0.7)]


@pytest.mark.parametrize("merged", [fuse, take_turns])
def test_the_scores_of_a_merged_ranking_follow_its_order(merged: Any) -> None:
    """Those of two searches cannot be compared; what either side knew of a passage stays."""
    hits = merged([ONE, OTHER])

    assert {one.chunk.ordinal for one in hits} == {0, 1, 2, 3}
    assert all(before.score >= after.score > 0 for before, after in pairwise(hits))
    assert hits[0].score < 0.3
    assert {one.lexical for one in hits} == {7.0}


def test_a_single_ranking_stays_as_it_is() -> None:
    """Its scores are those of the search."""
    assert fuse([ONE]) == ONE
