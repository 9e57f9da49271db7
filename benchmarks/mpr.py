"""What several reasoning paths are worth: answers end to end with a real model, over real contexts.

    .venv/bin/python benchmarks/mpr.py --model FILE.gguf --results FILE.jsonl [--xquad FOLDER]
                                       [--texts FOLDER] [--questions 60] [--samplers diversity,…] …
    .venv/bin/python benchmarks/mpr.py --results FILE.jsonl [--xquad FOLDER]
    .venv/bin/python benchmarks/mpr.py --model FILE.gguf --serve 20

Five candidates for each sampler, and the answers without a document, from its head and from the right passage
alone, are made once and kept in a file; the same command goes on where it was ended. Every synthesizer and
number of paths is then replayed from the file. Without a model all is replayed and nothing made. Questions:
the public ones and XQuAD's, strewn through the handbooks, half of them in each language. `--serve` measures
instead how long answers take, end to end over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import questions
import structlog
import texts
import walking
import xquad
from answering import MAX_TOKENS, Asking, asking, registered_samplers
from candidates import ABSENT, BASELINES, ORACLE, PATHS, Place, Records
from comparing import report, run_all
from peers import Absent
from questions import Question
from replaying import cases_of, evened, synthesizers
from vectors import kept_embeddings

PUBLIC, XQUAD = "public", "xquad"
LANGUAGES = ("en", "zh")


class Asked(msgspec.Struct, frozen=True):
    """A question with the name of its set."""

    set: str
    question: Question


def public() -> list[Asked]:
    return [Asked(PUBLIC, question) for question in questions.load(questions.PUBLIC)]


def of_xquad(folder: Path | None) -> tuple[list[Asked], dict[str, list[xquad.Paragraph]]]:
    """Read XQuAD's questions and paragraphs; what is missing is left out, in a line that says why."""
    asked, paragraphs = list[Asked](), dict[str, list[xquad.Paragraph]]()
    for lang in LANGUAGES:
        name = f"xquad-{lang}"
        try:
            paragraphs[name] = xquad.read(folder, lang)
        except Absent as reason:
            print(f"{name} is left out: {reason}")
        else:
            made = xquad.questions_on(paragraphs[name], name, lang)
            asked += [Asked(XQUAD, each) for each in made]
            asked += [Asked(ABSENT, each) for each in xquad.unanswered(made[::-1], f"handbook-{lang}")]
    return asked, paragraphs


def find(options: argparse.Namespace) -> tuple[dict[str, str], list[Asked]]:
    """Bring the texts and the questions on them, mixed evenly: any beginning has its share of each."""
    more, paragraphs = of_xquad(options.xquad)
    asked = public()
    books = texts.find([each.question.doc for each in asked], options.texts)
    for name, strewn in paragraphs.items():
        book = books.get(name.replace(XQUAD, "handbook"))
        if book is not None:
            books[name] = xquad.strewn(strewn, book)
    groups = [
        [each for each in asked if each.question.doc in books and each.question.lang == lang]
        for lang in LANGUAGES
    ]
    for lang, (set_, most) in itertools.product(
        LANGUAGES, ((XQUAD, options.questions // 2), (ABSENT, options.absent // 2))
    ):
        mine = [each for each in more if (each.set, each.question.lang) == (set_, lang)]
        groups.append([each for each in mine if each.question.doc in books][:most])
    return books, _spread(groups)


def _spread(groups: Sequence[Sequence[Asked]]) -> list[Asked]:
    placed = [
        ((at + 0.5) / len(group), number, each)
        for number, group in enumerate(groups)
        for at, each in enumerate(group)
    ]
    return [each for _, _, each in sorted(placed, key=lambda item: item[:2])]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a question lacks: the answers over the contexts of a sampler, or of a baseline."""

    asked: Asked
    sampler: str
    settings: str

    @property
    def places(self) -> list[Place]:
        count = 1 if self.sampler in BASELINES else PATHS
        return [(self.settings, self.asked.question.id, self.sampler, index) for index in range(count)]


def work_on(asked: Sequence[Asked], samplers: Sequence[str], settings: str) -> Iterator[Work]:
    """List the work: all questions with the first sampler and the baselines, then with each further one."""
    first, *others = samplers
    for together in ([first, *BASELINES], *([sampler] for sampler in others)):
        for each in asked:
            for sampler in together:
                if sampler != ORACLE or each.question.evidence:
                    yield Work(asked=each, sampler=sampler, settings=settings)


async def make(options: argparse.Namespace, records: Records) -> None:
    """Have every answer made that the file lacks."""
    books, asked = find(options)
    samplers = options.samplers or registered_samplers()
    planned = work_on(asked, samplers, settings_of(options))
    work = [each for each in planned if any(place not in records for place in each.places)]
    if not work:
        return
    say(f"{len(asked)} questions on {len(books)} texts of {sum(map(len, books.values())):,} characters")
    with tempfile.TemporaryDirectory() as folder, kept_embeddings():
        config = config_of(options, Path(folder))
        async with asking(config, samplers, options.temperature) as running:
            await running.store(books)
            say("the texts are stored")
            await _answer_all(running, work, records, options.minutes)


async def _answer_all(running: Asking, work: Sequence[Work], records: Records, minutes: float | None) -> None:
    began, total = time.perf_counter(), sum(len(each.places) for each in work)
    done = 0
    for number, each in enumerate(work, 1):
        await _answer(running, each, records)
        done += len(each.places)
        spent = (time.perf_counter() - began) / 60
        if number % 5 == 0 or number == len(work):
            left = spent / done * (total - done)
            say(f"{done} of {total} answers in {spent:.1f} minutes, about {left:.0f} left")
        if minutes is not None and spent > minutes:
            say("the time is over; the same command goes on from here")
            return


async def _answer(running: Asking, work: Work, records: Records) -> None:
    records.refresh()
    if all(place in records for place in work.places):
        return
    question = work.asked.question
    packs = await running.packs(question, work.sampler)
    for place, packed in zip(work.places, packs, strict=False):
        if place not in records:
            records.add(await running.answer(packed, question, work.asked.set, place, records))


async def compare(options: argparse.Namespace, records: Records) -> str:
    """Replay what the file has under the settings, or under the last ones where no model is named."""
    found = records.all()
    settings = settings_of(options) if options.model else found[-1].settings if found else ""
    asked = [*public(), *of_xquad(options.xquad)[0]]
    known = {each.question.id: (each.set, each.question) for each in asked}
    mine = [each for each in found if each.settings == settings]
    if not mine:
        sys.exit(f"{options.results} has no answer to replay.")
    cases = cases_of(evened(mine), known)
    async with synthesizers(options.synthesizers) as opened:
        return f"{settings}\n\n{report(cases, await run_all(cases, opened))}"


async def serve(options: argparse.Namespace) -> str:
    """Measure over HTTP, with the public questions only, since every text has to be stored anew."""
    books, asked = find(options)
    mine = [each.question for each in asked if each.set == PUBLIC][: options.serve]
    config = config_of(options, Path())
    return walking.shown(await walking.measure(books, mine, config))


def config_of(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    given = options.config
    rag = {**given.get("rag", {}), "path": str(folder / "store")}
    llm = {"type": "llama-cpp", "model_path": str(options.model), **given.get("llm", {})}
    return {**given, "llm": llm, "rag": rag}


def settings_of(options: argparse.Namespace) -> str:
    """Name what the answers depend on beside question and context."""
    parts = [options.model.name, f"temperature {options.temperature:g}", f"{MAX_TOKENS} tokens"]
    parts.append(json.dumps(options.config, sort_keys=True))
    return ", ".join(parts)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def names(value: str) -> list[str]:
    return value.split(",")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="a GGUF file; without it only replay")
    parser.add_argument("--results", type=Path, default=Path("mpr.jsonl"), help="the file of all answers")
    parser.add_argument("--xquad", type=Path, help="a folder with xquad.en.json and xquad.zh.json, or .gz")
    parser.add_argument("--texts", type=Path, help="a folder with NAME.txt or NAME.txt.gz")
    parser.add_argument("--questions", type=int, default=60, help="of XQuAD, half of them in each language")
    parser.add_argument("--absent", type=int, default=40, help="of XQuAD's, asked of texts without answers")
    parser.add_argument("--samplers", type=names, default=[], help="all, unless named")
    parser.add_argument("--synthesizers", type=names, default=[], help="all, unless named")
    parser.add_argument("--temperature", type=float, default=0.0, help="of all paths but the first")
    parser.add_argument("--minutes", type=float, help="end making answers after so many")
    parser.add_argument(
        "--serve", type=int, metavar="N", help="measure times over HTTP with N questions instead"
    )
    parser.add_argument("--config", type=json.loads, default={}, help="further keys, as JSON")
    options = parser.parse_args()
    if options.serve and not options.model:
        parser.error("--serve needs --model FILE")
    return options


async def main() -> None:
    options = arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if options.serve:
        print(await serve(options))
        return
    records = Records(options.results)
    if options.model:
        await make(options, records)
    print(await compare(options, records))


if __name__ == "__main__":
    asyncio.run(main())
