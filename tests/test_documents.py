"""Where passages stand in their documents."""

from openkimi import Chunk, Hit


def hit(start: int, end: int, document: str = "doc_1") -> Hit:
    chunk = Chunk(key="", text="x" * (end - start), start=start, end=end, ordinal=0)
    return Hit(document_id=document, chunk=chunk, score=1.0)


def test_passages_with_common_characters_overlap() -> None:
    """Neighbours do not, and those of different documents never do."""
    assert hit(0, 10).overlaps(hit(9, 20))
    assert hit(9, 20).overlaps(hit(0, 10))
    assert not hit(0, 10).overlaps(hit(10, 20))
    assert not hit(0, 10).overlaps(hit(0, 10, "doc_2"))


def test_a_passage_holds_what_lies_within_it() -> None:
    """Itself too, and nothing that goes beyond it or stands in another document."""
    assert hit(0, 10).holds(hit(0, 10))
    assert hit(0, 10).holds(hit(3, 7))
    assert not hit(0, 10).holds(hit(3, 11))
    assert not hit(0, 10).holds(hit(3, 7, "doc_2"))


def test_a_passage_is_known_by_its_place() -> None:
    """However it was found."""
    assert hit(3, 7).place == ("doc_1", 3, 7)
