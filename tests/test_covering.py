"""Standing for a whole text with few passages, and finding all that mentions something."""

import pytest

from openkimi import Chunk
from openkimi.covering import cover, excerpt
from openkimi.mentions import mentions


def chunks_of(texts: list[str], headings: dict[int, str] | None = None) -> list[Chunk]:
    chunks, start, path = [], 0, tuple[str, ...]()
    for ordinal, text in enumerate(texts):
        path = (headings[ordinal],) if headings and ordinal in headings else path
        end = start + len(text)
        chunks.append(
            Chunk(
                key=str(ordinal), text=text, start=start, end=end, ordinal=ordinal, headings=path, density=0.5
            )
        )
        start = end + 2
    return chunks


BOOK = chunks_of(
    [
        f"Chapter {at} tells of the {at} journeys of ship number {at * at * 7919}. It was long."
        for at in range(400)
    ]
)


def test_the_whole_is_covered_by_any_number_of_passages() -> None:
    """However many of those chosen fit, they come from all over the text."""
    chosen = cover(BOOK, 32)

    for most in (4, 8, 16, 32):
        quarters = {chunk.ordinal // 100 for chunk in chosen[:most]}
        assert quarters == {0, 1, 2, 3}


def test_the_beginning_of_a_section_stands_for_it() -> None:
    """Of equally dense passages the one under a new heading is taken."""
    book = chunks_of([chunk.text for chunk in BOOK], {117: "One", 233: "Two", 333: "Three"})

    assert {117, 233, 333} <= {chunk.ordinal for chunk in cover(book, 4)}


def test_what_is_said_twice_stands_once() -> None:
    """Boilerplate that comes back on every page does not fill a summary."""
    notice = "This page was left empty on purpose, as the law of the land has it since long ago."
    book = chunks_of([notice if at % 10 else chunk.text for at, chunk in enumerate(BOOK)])

    assert sum(chunk.text == notice for chunk in cover(book, 40)) == 1


def test_nothing_is_covered_by_nothing() -> None:
    """An empty document has no passages."""
    assert cover([], 10) == []


def test_an_excerpt_ends_with_a_sentence_and_keeps_its_place() -> None:
    """It is text of the document, at its offsets."""
    [chunk] = chunks_of(
        ["One is short. Two is somewhat longer. Three ends it all, and is the longest of them."]
    )

    part = excerpt(chunk, 40)

    assert part.text == "One is short. Two is somewhat longer."
    assert (part.start, part.end) == (0, 37)


@pytest.mark.parametrize(
    "text",
    ["\n".join(f"{at}." for at in range(1, 150)), "- " * 50, "\n" * 90],
    ids=["numbers", "marks", "blank"],
)
def test_an_excerpt_can_be_made_of_what_has_no_sentence(text: str) -> None:
    """An empty form has only numbers and marks."""
    [chunk] = chunks_of([text])

    part = excerpt(chunk, 40)

    assert 0 < len(part.text) <= 80
    assert text.startswith(part.text)


def test_every_mention_is_found_and_cut_out() -> None:
    """All passages that have the word, and of each the sentences that do."""
    texts = [f"The sea is wide in {at}. Nobody knows. A falcon came in {at}. Rain fell." for at in range(50)]
    texts += [f"The sea is calm in {at}. Nobody came." for at in range(50)]

    found = mentions(chunks_of(texts), "falcons")

    assert len(found) == 50
    assert {chunk.text for _, chunk in found} == {f"A falcon came in {at}." for at in range(50)}


def test_chinese_mentions_are_found() -> None:
    """Without spaces the pairs of characters tell."""
    found = mentions(
        chunks_of(["先说别的。防火墙很重要。再说别的。", "这里谈火与墙。", "防火墙！"]), "防火墙"
    )

    assert [chunk.text for share, chunk in found if share == 1] == ["防火墙！", "防火墙很重要。"]


def test_a_passage_with_little_of_the_subject_is_no_mention() -> None:
    """Common words alone do not make one."""
    texts = ["The energy of youth."] * 20 + ["Atomic energy is new."]

    assert [chunk.text for _, chunk in mentions(chunks_of(texts), "atomic energy")] == [
        "Atomic energy is new."
    ]
