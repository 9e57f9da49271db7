"""How often a citation is right, on questions with gold answers in SQuAD's format (plain or gzipped JSON).

    .venv/bin/python benchmarks/citations.py xquad.en.json xquad.zh.json

Each question is asked of six paragraphs: the one with the answer, three of the same article, two of others.
What is cited for an answer is compared with the sentence that the gold answer was taken from. No model and
no server take part. Two files that hold the same questions in the same order are also tried across.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openkimi.spans import Span, sentences_of
from openkimi.support import Evidence, find_support


class Item(NamedTuple):
    question: str
    answer: str
    start: int
    passages: list[str]
    """The first has the answer."""

    swapped: str
    """The answer to another question of the article."""

    foreign: str
    """An answer from another article."""


def load(path: Path) -> list[Any]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [article["paragraphs"] for article in json.loads(data)["data"]]


def items_of(articles: list[Any]) -> list[Item]:
    chance = random.Random(1)
    items: list[Item] = []
    for number, paragraphs in enumerate(articles):
        others = [articles[(number + step) % len(articles)][0]["context"] for step in (1, 2)]
        strangers = articles[(number + 7) % len(articles)]
        for at, paragraph in enumerate(paragraphs):
            near = [other["context"] for other in paragraphs[:at] + paragraphs[at + 1 :]][:3]
            for asked in paragraph["qas"]:
                gold = asked["answers"][0]
                items.append(
                    Item(
                        question=asked["question"],
                        answer=gold["text"],
                        start=gold["answer_start"],
                        passages=[paragraph["context"], *near, *others],
                        swapped=_any_answer(paragraphs, chance),
                        foreign=_any_answer(strangers, chance),
                    )
                )
    return items


def _any_answer(paragraphs: list[Any], chance: random.Random) -> str:
    return str(chance.choice(chance.choice(paragraphs)["qas"])["answers"][0]["text"])


def gold_sentence(item: Item) -> Span:
    return next(span for span in sentences_of(item.passages[0]) if span.end > item.start)


def cited(answer: str, passages: Sequence[str], question: str) -> list[Evidence]:
    return [one for claim in find_support(answer, passages, question=question) for one in claim.evidence]


def stands_in(evidence: Sequence[Evidence], span: Span) -> bool:
    return any(one.passage == 0 and one.span == span for one in evidence)


def measure(items: list[Item]) -> None:
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    for item in items:
        gold, asked = gold_sentence(item), item.question.rstrip("?？")
        for kind, answer in (("short", item.answer), ("with question", f"{asked}: {item.answer}")):
            evidence = cited(answer, item.passages, item.question)
            counts[f"{kind}, cited"] += bool(evidence)
            counts[f"{kind}, right"] += stands_in(evidence, gold)
        sentence = item.passages[0][gold.start : gold.end]
        if item.swapped not in sentence and item.answer not in item.swapped:
            counts["swapped"] += 1
            wrong = cited(f"{asked}: {item.swapped}", item.passages, item.question)
            counts["swapped, cited"] += stands_in(wrong, gold)
            copied = sentence.replace(item.answer, item.swapped)
            counts["copied, cited"] += stands_in(cited(copied, item.passages, item.question), gold)
        if not any(item.foreign in passage for passage in item.passages):
            counts["foreign"] += 1
            counts["foreign, cited"] += bool(cited(item.foreign, item.passages, item.question))
    spent = time.perf_counter() - began
    for kind in ("short", "with question"):
        found, right = counts[f"{kind}, cited"], counts[f"{kind}, right"]
        print(f"  right answer, {kind:14} cited {found}/{len(items)}, in its sentence {right}/{found}")
    print(f"  wrong answer, with question  put down to it {counts['swapped, cited']}/{counts['swapped']}")
    print(f"  its sentence, answer swapped cited {counts['copied, cited']}/{counts['swapped']}")
    print(f"  answer of another article    cited {counts['foreign, cited']}/{counts['foreign']}")
    print(f"  {1000 * spent / len(items) / 5:.1f} ms an answer")


def across(items: list[Item], others: list[Item]) -> None:
    """Answer with sentences of one language from passages of the other."""
    found = right = 0
    for item, other in zip(items, others, strict=True):
        gold = gold_sentence(item)
        evidence = cited(item.passages[0][gold.start : gold.end], other.passages, item.question)
        found += bool(evidence)
        right += stands_in(evidence, gold_sentence(other))
    print(f"  sentences cited {found}/{len(items)}, in their translation {right}/{found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    sets = {path: items_of(load(path)) for path in parser.parse_args().files}
    for path, items in sets.items():
        print(path.name)
        measure(items)
    if len(sets) == 2:
        (one, items), (other, others) = sets.items()
        for text, texts, name in (
            (items, others, f"{one.name} from {other.name}"),
            (others, items, f"{other.name} from {one.name}"),
        ):
            print(name)
            across(text, texts)


if __name__ == "__main__":
    main()
