"""Support: the right sentence for what a text backs, none for what it does not."""

import pytest

from openkimi.support import find_support

PASSAGES = [
    "The lighthouse of Port Arden was built in 1851. Its keeper is called Orlando Finch. He has 12 goats.",
    "Whales pass in autumn. The harbour master, Ada Lovell, counts 1,340 ships a year.",
    "灯塔建于1851年。守塔人名叫林远山，他养了十二只山羊。港务长每年统计一千三百四十艘船。",
]
QUESTION = "What is the keeper of the lighthouse called?"


def support(answer: str, question: str = QUESTION) -> list[tuple[str, list[str]]]:
    """Return each claim of an answer with the sentences found for it."""
    return [
        (
            answer[claim.span.start : claim.span.end],
            [PASSAGES[one.passage][one.span.start : one.span.end] for one in claim.evidence],
        )
        for claim in find_support(answer, PASSAGES, question=question)
    ]


@pytest.mark.parametrize(
    ("answer", "quote"),
    [
        ("Orlando Finch", "Its keeper is called Orlando Finch."),
        ("The keeper of the lighthouse is called Orlando Finch.", "Its keeper is called Orlando Finch."),
        ("It was built in 1851.", "The lighthouse of Port Arden was built in 1851."),
        ("Ada Lovell counts 1340 ships each year.", PASSAGES[1].partition(". ")[2]),
        ("守塔人是林远山。", "守塔人名叫林远山，他养了十二只山羊。"),
        ("建于1851年", "灯塔建于1851年。"),
    ],
)
def test_the_sentence_that_says_it_is_found(answer: str, quote: str) -> None:
    """Words, numbers and pairs of characters lead to one sentence, whole or in few words."""
    [(_, quotes)] = support(answer)

    assert quotes == [quote]


@pytest.mark.parametrize(
    "answer",
    [
        "The keeper of the lighthouse is called Martin Crane.",
        "It was built in 1862.",
        "Ada Lovell counts 2,000 ships a year.",
        "The keeper has three daughters who live in Paris.",
        "守塔人名叫王小明。",
        "灯塔建于1920年。",
        "Paris",
    ],
)
def test_what_no_passage_says_has_no_support(answer: str) -> None:
    """Another name or number is not backed by a sentence about the same thing."""
    assert support(answer) == [(answer, [])]


@pytest.mark.parametrize("answer", ["Yes.", "No, it is not.", "", "…", "是的。"])
def test_what_says_nothing_is_no_claim(answer: str) -> None:
    """Sentences of function words alone are neither backed nor unsupported."""
    assert support(answer) == []


def test_each_sentence_of_an_answer_has_its_own_support() -> None:
    """A made-up sentence between two true ones is the one without."""
    answer = (
        "The keeper is Orlando Finch. He sings in the choir on Sundays. The lighthouse was built in 1851."
    )

    first, second, third = support(answer)

    assert first[1] == ["Its keeper is called Orlando Finch."]
    assert second[1] == []
    assert third[1] == ["The lighthouse of Port Arden was built in 1851."]


def test_one_claim_may_need_several_sentences() -> None:
    """What stands in two places is backed by both."""
    [(_, quotes)] = support("Orlando Finch and Ada Lovell", "Who are the keeper and the harbour master?")

    assert len(quotes) == 2
    assert all(any(name in quote for quote in quotes) for name in ("Finch", "Lovell"))


def test_of_equal_sentences_the_one_near_the_question_is_taken() -> None:
    """A short answer stands in many places: the question tells which is meant."""
    passages = ["Netatalk is old. Files are served to macOS by Netatalk.", "Netatalk was painted blue."]

    [claim] = find_support("Netatalk", passages, question="What serves files to macOS?")

    assert [(one.passage, one.span.start) for one in claim.evidence] == [(0, 17)]


def test_combining_characters_match_precomposed_ones() -> None:
    """An accent written apart is the same letter."""
    [claim] = find_support("Caf\u00e9 Orl\u00e9ans", ["He sits in the Cafe\u0301 Orle\u0301ans."])

    assert claim.evidence


def test_a_date_is_the_same_in_another_language() -> None:
    """Months are numbers, so that a date leads from one language to the other."""
    passages = ["The islands are many.", "The islands are to be independent on July 4, 1946."]

    [right] = find_support("群岛将于1946年7月4日独立。", passages, question="群岛将于何时独立？")
    [wrong] = find_support("群岛将于1946年8月4日独立。", passages, question="群岛将于何时独立？")

    assert [one.passage for one in right.evidence] == [1]
    assert wrong.evidence == ()


def test_thoughts_are_no_claims() -> None:
    """What stands before `</think>` is neither backed nor unsupported."""
    thoughts = "<think>Perhaps it is Martin Crane.</think>\n"

    [claim] = find_support(f"{thoughts}Orlando Finch", PASSAGES, question=QUESTION)

    assert claim.evidence
    assert (claim.span.start, claim.span.end) == (len(thoughts), len(thoughts) + len("Orlando Finch"))


def test_only_so_many_claims_are_looked_at() -> None:
    """A model that repeats itself without end costs no more than 200 sentences."""
    assert len(find_support("Orlando Finch is old. " * 500, PASSAGES)) == 200
