"""How often everything that answers a question stands in the prompt that reaches the model.

    .venv/bin/python benchmarks/recall.py [--budgets 500,1000,2000,4000] [--texts DIR] [--questions FILE] …
                                          [--config '{"rag": …}'] [--no-first-sight] [--json FILE]
    .venv/bin/python benchmarks/recall.py --ablations [--ablation-budgets 500,1000,4000] …

Asks questions on whole books through a gateway that is a process of its own, in front of a server that
remembers the prompts it gets. A question counts when all its evidence stands in the prompt, white space
aside (evidence recall); ``rag.max_context_tokens`` is the budget. Plain ways to fill a prompt are measured
beside it with the same texts, budgets and estimate of tokens. `first sight` is what is asked while a text's
vectors are still missing: of each text with a new store, until it is ready. Latency is the time from sending
a question, with its book, until the prompt is at the model's server.

`--ablations` takes parts away instead, one at a time, in this process. Vectors for it and for the plain ways
are kept in ~/.cache/openkimi-benchmarks; the Debian handbook is fetched there too, once.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import questions
import structlog
import texts
from ablations import ablate
from outcomes import Outcome, beside, counted, language, latency, recall, table
from plain import Plain
from questions import Question, holds
from recorder import Recorder, gateway, recording
from vectors import Encoder

BUDGETS = (500, 1000, 2000, 4000)
OPENKIMI, FIRST_SIGHT = "OpenKimi", "OpenKimi at first sight"
Texts = Mapping[str, str]


async def openkimi(
    recorder: Recorder, books: Texts, asked: Sequence[Question], options: argparse.Namespace
) -> list[Outcome]:
    """Ask when all vectors are there; the gateways of all budgets share one store."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for budget in options.budgets:
            async with gateway(recorder, Path(folder), options.config, max_context_tokens=budget) as running:
                for text in books.values():
                    await running.ask(text, "What is this about?")
                await running.ready(len(books))
                say(f"{OPENKIMI}, {budget} tokens: the texts are stored")
                for question in asked:
                    prompt, seconds = await running.ask(books[question.doc], question.question)
                    outcomes.append(outcome(OPENKIMI, budget, question, prompt, seconds))
    return outcomes


async def first_sight(
    recorder: Recorder, books: Texts, asked: Sequence[Question], options: argparse.Namespace
) -> list[Outcome]:
    """Ask about each text with a new store as long as its vectors are missing, from its first moment on.

    The vectors that are being made meanwhile help the later questions more than the first ones.
    """
    outcomes = []
    for name, budget in itertools.product(books, options.budgets):
        with tempfile.TemporaryDirectory() as folder:
            rag = {"max_context_tokens": budget, "vector_wait": 0}
            async with gateway(recorder, Path(folder), options.config, **rag) as running:
                for question in (each for each in asked if each.doc == name):
                    prompt, seconds = await running.ask(books[name], question.question)
                    if await running.states() != ["lexical"]:
                        break
                    outcomes.append(outcome(FIRST_SIGHT, budget, question, prompt, seconds))
        say(f"{FIRST_SIGHT}, {budget} tokens: {name} is done")
    return outcomes


def plain(books: Texts, asked: Sequence[Question], budgets: Sequence[int]) -> list[Outcome]:
    outcomes, embed = [], Encoder()
    for name, text in books.items():
        ways = Plain(text, embed)
        for question in (each for each in asked if each.doc == name):
            for method, ranking in ways.rankings(question.question).items():
                outcomes += [
                    outcome(method, budget, question, ways.prompt(ranking, budget)) for budget in budgets
                ]
        say(f"plain ways: {name} is done")
    return outcomes


def outcome(
    method: str, budget: int, question: Question, prompt: str, seconds: float | None = None
) -> Outcome:
    held = holds(prompt, question.evidence)
    milliseconds = None if seconds is None else seconds * 1000
    return Outcome(method=method, budget=budget, question=question, held=held, milliseconds=milliseconds)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(title: str, made: str) -> None:
    print(f"\n{title}:\n\n{made}", flush=True)


async def compare(books: Texts, asked: Sequence[Question], options: argparse.Namespace) -> list[Outcome]:
    by_plain = await asyncio.to_thread(plain, books, asked, options.budgets)
    async with recording() as recorder:
        ready = await openkimi(recorder, books, asked, options)
        early = await first_sight(recorder, books, asked, options) if options.first_sight else []
    show("Evidence recall by budget", table([*by_plain, *early, *ready], "Method", lambda each: each.method))
    show(f"{OPENKIMI} by kind", table(ready, "Kind", counted(asked, lambda each: each.kind)))
    show(f"{OPENKIMI} by language", table(ready, "Language", counted(asked, language)))
    show(f"{OPENKIMI} by text", table(ready, "Text", counted(asked, lambda each: each.doc)))
    times = table([*early, *ready], "Median, 95th percentile", lambda each: each.method, latency)
    show("Milliseconds until the prompt is at the model's server", times)
    if early:
        print(f"\nAt first sight {len(early)} of {len(asked) * len(options.budgets)} could be asked in time.")
    return [*by_plain, *early, *ready]


async def take_apart(books: Texts, asked: Sequence[Question], options: argparse.Namespace) -> list[Outcome]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    outcomes = list[Outcome]()
    async with recording() as recorder:
        async for method, budget, mine in ablate(recorder, books, asked, options.ablated):
            some = [outcome(method, budget, question, prompt) for question, prompt in mine]
            say(f"{method}, {budget} tokens: {recall(some)}")
            outcomes += some
    cell = beside(outcomes, outcomes[0].method)
    show(
        "Evidence recall by budget (questions won, lost)",
        table(outcomes, "Variant", lambda each: each.method, cell),
    )
    return outcomes


def numbers(value: str) -> list[int]:
    return [int(each) for each in value.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budgets", type=numbers, default=list(BUDGETS), help="tokens, such as 500,4000")
    parser.add_argument("--texts", type=Path, help="a folder with NAME.txt or NAME.txt.gz")
    parser.add_argument("--questions", type=Path, action="append", help="a set of your own, in place of ours")
    parser.add_argument("--config", type=json.loads, default={}, help="further keys, as JSON")
    parser.add_argument("--no-first-sight", dest="first_sight", action="store_false")
    parser.add_argument("--ablations", action="store_true", help="take parts away instead")
    parser.add_argument("--ablation-budgets", dest="ablated", type=numbers, default=[500, 1000, 4000])
    parser.add_argument("--json", type=Path, help="write what became of each question to this file")
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    wanted = [each for path in options.questions or [questions.PUBLIC] for each in questions.load(path)]
    books = texts.find([each.doc for each in wanted], options.texts)
    asked = questions.usable(wanted, books)
    books = {name: text for name, text in books.items() if any(each.doc == name for each in asked)}
    if not asked:
        sys.exit("There is no question left to ask.")
    print(f"{len(asked)} questions on {len(books)} texts of {sum(map(len, books.values())):,} characters")
    outcomes = await (take_apart if options.ablations else compare)(books, asked, options)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)))


if __name__ == "__main__":
    asyncio.run(main())
