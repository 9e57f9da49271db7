"""What a question asks of a text: recognised in two languages, and rather not than wrongly."""

import json
import time
from pathlib import Path

import pytest

from openkimi.intent import Intent, intent_of

EXAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data/intents.jsonl").read_text("utf-8").splitlines()
]
WHOLE = {"summary", "enumeration", "comparison"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_recognised_is_right_and_most_is_recognised(lang: str) -> None:
    """Of 500 labelled questions hardly one is taken for another kind, and nine in ten are recognised."""
    examples = [example for example in EXAMPLES if example["lang"] == lang]
    pairs = [(example["kind"], intent_of(example["question"]).kind) for example in examples]
    right = sum(kind == found for kind, found in pairs if kind in WHOLE)

    assert len(examples) > 120
    assert right / sum(found in WHOLE for _, found in pairs) >= 0.98
    assert right / sum(kind in WHOLE for kind, _ in pairs) >= 0.93


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("List all countries mentioned in the speech.", "countries"),
        ("Find all mentions of the Marshall Plan.", "Marshall Plan"),
        ('How often does the word "freedom" appear in the text?', "freedom"),
        ("How many times does the author refer to atomic energy?", "atomic energy"),
        ("Falcot 在书里出现了多少次？", "Falcot"),
        ("找出所有提到 RAID 的段落。", "RAID"),
        ("文中提到了哪些城市？", "城市"),
    ],
)
def test_an_enumeration_has_its_subject(question: str, subject: str) -> None:
    """What is to be found everywhere is told from what frames it."""
    assert intent_of(question) == Intent(kind="enumeration", subject=subject)


@pytest.mark.parametrize(
    ("question", "sides"),
    [
        ("Compare Postfix and Exim.", ("Postfix", "Exim")),
        ("What is the difference between RAID 1 and RAID 5?", ("RAID 1", "RAID 5")),
        ("Please tell me how Testing differs from Stable.", ("Testing", "Stable")),
        ("LXC vs. Xen: which is better for a small office?", ("LXC", "Xen")),
        ("RAID 1 与 RAID 5 有什么区别？", ("RAID 1", "RAID 5")),
        ("甲方和乙方的义务有什么不同？", ("甲方", "乙方的义务")),
    ],
)
def test_a_comparison_has_its_sides(question: str, sides: tuple[str, str]) -> None:
    """Both sides can be searched for."""
    assert intent_of(question) == Intent(kind="comparison", sides=sides)


def test_a_question_for_a_thing_stays_one_beside_other_sentences() -> None:
    """Who asks for a fact and for a list of all sources wants the fact found first."""
    assert intent_of("Who wrote Hamlet? List all sources.").kind == "lookup"
    assert intent_of("Be brief. Summarise the text.").kind == "summary"


@pytest.mark.parametrize(
    "question",
    [
        "Summarise both documents.",
        "Compare the two documents.",
        "What is each document about?",
        "请分别总结",
        "这两篇文章有什么区别？",
    ],
)
def test_texts_are_compared_as_a_whole(question: str) -> None:
    """A comparison of the texts themselves has no sides to search for: it takes all of each."""
    assert intent_of(question) == Intent(kind="summary", several=True)


def test_one_text_is_not_several() -> None:
    """Who asks for a summary of this text asks for no other."""
    assert intent_of("Summarise this document.") == intent_of("总结一下。") == Intent(kind="summary")


def test_hostile_questions_cost_no_time() -> None:
    """No question keeps a regular expression busy."""
    hostile = [
        "和与跟" * 400,
        "how many times " * 99,
        "list all " * 99,
        "总结" * 400,
        "a and " * 99,
        "的" * 999,
        "compare the " * 99,
        "now, then " * 99,
        "这两篇文章的" * 99,
        "请比较" * 99,
    ]
    started = time.monotonic()

    for question in hostile:
        intent_of(question)
        intent_of(question[:199])

    assert time.monotonic() - started < 1
