"""XQuAD's paragraphs strewn through a long text, and its questions on them.

XQuAD (Artetxe et al., arXiv 1910.11856; google-deepmind/xquad on GitHub, CC BY-SA 4.0) asks 1,190 questions
on 240 paragraphs, the same in many languages, in SQuAD's format. A folder holds ``xquad.en.json`` and
``xquad.zh.json``, each plain or with ``.gz``.
"""

from __future__ import annotations

import gzip
import hashlib
import random
from pathlib import Path

import msgspec
from peers import Absent
from questions import Question

from openkimi.spans import sentences_of

_PARAGRAPH = "\n\n"
_SEED = 1


class Paragraph(msgspec.Struct, frozen=True):
    """A paragraph with the questions on it, as SQuAD's format has them."""

    context: str
    qas: tuple[Asked, ...]


class Asked(msgspec.Struct, frozen=True):
    """A question with its accepted answers."""

    id: str
    question: str
    answers: tuple[Accepted, ...]


class Accepted(msgspec.Struct, frozen=True):
    """An answer, and the character of the paragraph at which it begins."""

    text: str
    answer_start: int


class _Article(msgspec.Struct, frozen=True):
    paragraphs: tuple[Paragraph, ...]


class _File(msgspec.Struct, frozen=True):
    data: tuple[_Article, ...]


def read(folder: Path | None, lang: str) -> list[Paragraph]:
    """Read the paragraphs of a language.

    Raises:
        Absent: they are not there.
    """
    if folder is None:
        raise Absent("--xquad names no folder with xquad.en.json and xquad.zh.json")
    for path in (folder / f"xquad.{lang}.json", folder / f"xquad.{lang}.json.gz"):
        if path.exists():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            file = msgspec.json.decode(data, type=_File)
            return [paragraph for article in file.data for paragraph in article.paragraphs]
    raise Absent(f"there is no xquad.{lang}.json or xquad.{lang}.json.gz in {folder}")


def strewn(paragraphs: list[Paragraph], text: str) -> str:
    """Put the paragraphs, shuffled, between those of a long text; the same ones at the same places always."""
    blocks = text.split(_PARAGRAPH)
    chance = random.Random(_SEED)
    shuffled = chance.sample(paragraphs, len(paragraphs))
    places = sorted(chance.choices(range(len(blocks) + 1), k=len(shuffled)), reverse=True)
    for place, paragraph in zip(places, shuffled, strict=True):
        blocks.insert(place, paragraph.context)
    return _PARAGRAPH.join(blocks)


def questions_on(paragraphs: list[Paragraph], doc: str, lang: str) -> list[Question]:
    """Make questions whose evidence is the sentence that holds the answer, in an order of no meaning."""
    made = [_question(asked, paragraph, doc, lang) for paragraph in paragraphs for asked in paragraph.qas]
    return sorted(made, key=lambda question: hashlib.sha256(question.id.encode()).digest())


def unanswered(asked: list[Question], doc: str) -> list[Question]:
    """Ask the same of a text that does not have the paragraphs, where nothing answers it."""
    return [
        msgspec.structs.replace(
            question, id=f"absent-{question.id}", doc=doc, kind="absent", evidence=(), answer=("not there",)
        )
        for question in asked
    ]


def _question(asked: Asked, paragraph: Paragraph, doc: str, lang: str) -> Question:
    start = asked.answers[0].answer_start
    sentence = next(span for span in sentences_of(paragraph.context) if span.end > start)
    return Question(
        id=f"xquad-{lang}-{asked.id}",
        doc=doc,
        lang=lang,
        kind="lookup",
        question=asked.question,
        evidence=(paragraph.context[sentence.start : sentence.end],),
        answer=tuple(dict.fromkeys(answer.text for answer in asked.answers)),
    )
