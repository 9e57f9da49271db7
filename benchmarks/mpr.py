"""What several reasoning paths are worth: answers end to end, with a real model.

    .venv/bin/python benchmarks/mpr.py --model FILE.gguf --xquad FOLDER --results FILE.jsonl
                                       [--questions 60] [--samplers diversity,relevance] [--minutes 60] …
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import questions
import structlog
import texts
import xquad
from answering import MAX_TOKENS, asking, order_of
from candidates import Records
from peers import Absent
from questions import Question
from vectors import kept_embeddings

PUBLIC, XQUAD = "public", "xquad"
LANGUAGES = ("en", "zh")
BUDGET = 500


class Asked(msgspec.Struct, frozen=True):
    """A question with the name of its set."""

    set: str
    question: Question


def find(options: argparse.Namespace) -> tuple[dict[str, str], list[Asked]]:
    """Bring the texts and the questions on them; what cannot be had is left out in a line that says why."""
    public = questions.load(questions.PUBLIC)
    books = texts.find([question.doc for question in public], options.texts)
    groups = [
        [Asked(PUBLIC, each) for each in public if each.doc in books and each.lang == lang]
        for lang in LANGUAGES
    ]
    for lang in LANGUAGES:
        name, book = f"xquad-{lang}", books.get(f"handbook-{lang}")
        try:
            paragraphs = xquad.read(options.xquad, lang)
        except Absent as reason:
            print(f"{name} is left out: {reason}")
            continue
        if book is None:
            print(f"{name} is left out: there is no handbook-{lang} to strew it through")
            continue
        books[name] = xquad.strewn(paragraphs, book)
        made = xquad.questions_on(paragraphs, name, lang)
        groups.append([Asked(XQUAD, each) for each in made[: options.questions // 2]])
    return books, _spread(groups)


def _spread(groups: Sequence[Sequence[Asked]]) -> list[Asked]:
    """Mix the groups evenly, so that any beginning has its share of each."""
    placed = [
        ((at + 0.5) / len(group), number, each)
        for number, group in enumerate(groups)
        for at, each in enumerate(group)
    ]
    return [each for _, _, each in sorted(placed, key=lambda item: item[:2])]


async def make(options: argparse.Namespace, records: Records, settings: str) -> None:
    """Have every answer made that the file lacks, one sampler after the other."""
    books, asked = find(options)
    say(f"{len(asked)} questions on {len(books)} texts of {sum(map(len, books.values())):,} characters")
    with tempfile.TemporaryDirectory() as folder, kept_embeddings():
        raw = config_of(options, Path(folder))
        async with asking(raw, options.samplers, options.temperature) as open_:
            await open_.store(books)
            say("the texts are stored")
            passes = order_of(options.samplers)
            work = [(each, names) for names in passes for each in asked]
            began, done = time.perf_counter(), 0
            for number, (each, names) in enumerate(work, 1):
                before = done
                for sampler in names:
                    if (settings, each.question.id, sampler, 0) in records and _whole(
                        records, settings, each, sampler
                    ):
                        continue
                    for index, packed in enumerate(await open_.packs(each.question, sampler)):
                        place = (each.set, sampler, index)
                        if (settings, each.question.id, sampler, index) not in records:
                            records.add(
                                await open_.answer(packed, each.question, place, settings, records)
                            )
                            done += 1
                if done > before:
                    spent = time.perf_counter() - began
                    left = spent / done * sum(6 if len(n) > 1 else 4 for _, n in work[number:])
                    say(f"{number} of {len(work)}: {done} answers in {spent:.0f} s, about {left / 60:.0f} min left")
                if options.minutes and time.perf_counter() - began > 60 * options.minutes:
                    say("the time is over; the same command goes on from here")
                    return


def _whole(records: Records, settings: str, each: Asked, sampler: str) -> bool:
    from candidates import BASELINES, PATHS

    last = 0 if sampler in BASELINES else PATHS - 1
    return (settings, each.question.id, sampler, last) in records


def config_of(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    given = options.config
    rag = {"max_context_tokens": BUDGET, **given.get("rag", {}), "path": str(folder / "store")}
    llm = {"type": "llama-cpp", "model_path": str(options.model), **given.get("llm", {})}
    return {**given, "llm": llm, "rag": rag}


def settings_of(options: argparse.Namespace) -> str:
    parts = [options.model.name, f"temperature {options.temperature:g}", f"{MAX_TOKENS} tokens"]
    parts.append(json.dumps(options.config, sort_keys=True))
    return ", ".join(parts)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def names(value: str) -> list[str]:
    return value.split(",")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--xquad", type=Path, help="a folder with xquad.en.json and xquad.zh.json, or .gz")
    parser.add_argument("--texts", type=Path, help="a folder with NAME.txt or NAME.txt.gz")
    parser.add_argument("--results", type=Path, default=Path("mpr.jsonl"))
    parser.add_argument("--questions", type=int, default=60, help="of XQuAD, half of them in each language")
    parser.add_argument("--samplers", type=names, default=["diversity", "relevance"])
    parser.add_argument("--temperature", type=float, default=0.0, help="of all paths but the first")
    parser.add_argument("--minutes", type=float, help="end after so many")
    parser.add_argument("--config", type=json.loads, default={}, help="further keys, as JSON")
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    records = Records(options.results)
    await make(options, records, settings_of(options))


if __name__ == "__main__":
    asyncio.run(main())
