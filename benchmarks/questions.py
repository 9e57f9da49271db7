"""Questions on long texts, with the passages that have to be in the prompt to answer them.

A set is a file of JSON objects, one a line: ``id``, ``doc`` (the text's name), ``lang``, ``kind``,
``question``, ``evidence`` (exact pieces of the text, white space aside; all of them are needed) and
``answer``. Kinds: ``lookup``, ``paraphrase`` (shares no key word with the text), ``multi`` (two passages far
apart), ``enumerate``, ``crosslingual``, ``absent`` (not answered in the text, no evidence).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

PUBLIC = Path(__file__).parent / "data/questions.jsonl"
_WHITE = re.compile(r"\s+")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question on a text, in the language ``lang``, and what has to be in the prompt."""

    id: str
    doc: str
    lang: str
    kind: str
    question: str
    evidence: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()


def load(path: Path) -> list[Question]:
    return [msgspec.json.decode(line, type=Question) for line in path.read_bytes().splitlines() if line]


def squeezed(text: str) -> str:
    """Take out all white space, by which texts and prompts may differ."""
    return _WHITE.sub("", text)


def holds(prompt: str, evidence: Sequence[str]) -> bool:
    """Tell whether every piece of evidence stands in a prompt, white space aside."""
    prompt = squeezed(prompt)
    return all(squeezed(piece) in prompt for piece in evidence)


def usable(questions: Sequence[Question], texts: Mapping[str, str]) -> list[Question]:
    """Keep the questions whose evidence stands in their texts, and say which do not."""
    flat = {name: squeezed(text) for name, text in texts.items()}
    kept = []
    for question in questions:
        if question.doc not in flat or not question.evidence:
            continue
        lost = [piece for piece in question.evidence if squeezed(piece) not in flat[question.doc]]
        if lost:
            print(f"{question.id} is left out: its text does not hold {lost[0]!r}")
        else:
            kept.append(question)
    return kept
