"""How fast a model of this machine answers: OpenKimi with each engine, and the servers beside it.

    .venv/bin/python benchmarks/inference.py [--model FILE] [--quick] [--rounds 9] [--results FILE]
                                             [--llama-server PROGRAM] [--only llama-cpp llama-server ...]

The same model file, window and threads for all; one server at a time, each in turn in every round. A visit
starts a server, asks two questions on a document that fits the window, starts it again, asks the first
question again, has an answer written, then lets 1, 2, 4 and 8 clients ask at once. The document, and the
pieces that the clients have continued, are others in each round and the same for all servers. What is shown
are medians of the rounds with an interval by order statistics, and ratios that are taken within each round.

`--results FILE` keeps each visit as a line of JSON; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
from answers import Wrong
from contenders import CONTENDERS, Contender, Settings, find
from peers import Absent
from rounds import Found, Visit, read, shown, table, write
from visits import Plan, visit

from openkimi_gguf.fetching import fetch

PLAN = Plan(document=2000, tokens=96, clients=(1, 2, 4, 8), asked=2, packs=True)
QUICK = Plan(document=1000, tokens=48, clients=(1, 4), asked=1, packs=False)

# A figure, its name in the table, and its digits; None for those that are made of others.
ROWS: list[tuple[str, str, int]] = [
    ("start", "until the server is ready, s", 1),
    ("document", "document and question, tokens", 0),
    ("cold.first", "first token, cold, s", 2),
    ("second.first", "first token, second question, s", 3),
    ("second.factor", "– times sooner", 1),
    ("second.cached", "– `cached_tokens`", 0),
    ("restart.first", "first token, first question after a restart, s", 3),
    ("restart.factor", "– times sooner than cold", 1),
    ("restart.cached", "– `cached_tokens`", 0),
    ("packs.prompt", "a text longer than the window: prompt, tokens", 0),
    ("packs.first", "– first token at first sight, s", 2),
    ("packs.second.first", "– first token, second question, s", 2),
    ("packs.second.factor", "– times sooner", 1),
    ("packs.second.cached", "– `cached_tokens`", 0),
    ("packs.restart.first", "– first token after a restart, s", 2),
    ("packs.restart.factor", "– times sooner than at first sight", 1),
    ("packs.restart.cached", "– `cached_tokens`", 0),
    ("prefill", "prompt, tokens/s", 0),
    ("decode", "answer, tokens/s", 1),
    ("sampled", "answer at temperature 0.8, tokens/s", 1),
]
CLIENT_ROWS: list[tuple[str, str, int]] = [
    ("total", "all together, tokens/s", 1),
    ("each", "one of them, tokens/s", 1),
    ("slowest", "the slowest of them, tokens/s", 1),
    ("unequal", "slowest answer / mean", 2),
    ("share", "slowest answer / its share", 2),
    ("first", "latest first token, s", 2),
]
LAST_ROWS: list[tuple[str, str, int]] = [
    ("disturbed.silence", "longest silence while another's long prompt is read, s", 2),
    ("disturbed.first", "– first token of that prompt, s", 2),
    ("memory", "memory, MB", 0),
    ("peak", "– at its highest, MB", 0),
    ("load", "load average before", 1),
]
RATIOS = ("cold.first", "second.first", "restart.first", "prefill", "decode", "sampled")


def rows(plan: Plan) -> list[tuple[str, str, int]]:
    several = [
        (f"clients.{count}.{key}", f"{count} client{'s' * (count > 1)}: {name}", digits)
        for count in plan.clients
        for key, name, digits in CLIENT_ROWS
        if count > 1 or key == "total"
    ]
    return ROWS + several + LAST_ROWS


def derived(visits: list[Visit]) -> list[Visit]:
    """Add the speed of reading; a server that does not count gets another's count of the same prompt."""
    counts: dict[int, float] = {}
    for each in visits:
        if "document" in each.figures:
            counts.setdefault(each.round, each.figures["document"])
    return [_with_prefill(each, counts.get(each.round)) for each in visits]


def _with_prefill(each: Visit, count: float | None) -> Visit:
    tokens = each.figures.get("document", count)
    if tokens is None:
        return each
    fresh = tokens - each.figures.get("cold.cached", 0)
    figures = each.figures | {"prefill": fresh / each.figures["cold.first"]}
    return msgspec.structs.replace(each, figures=figures)


def report(visits: list[Visit], plan: Plan) -> str:
    found = Found(derived(visits))
    names = found.contenders
    parts = [
        table(
            "medians (interval)",
            names,
            [
                (name, lambda who, k=key, d=digits: shown(found.values(who, k), d))
                for key, name, digits in rows(plan)
            ],
        )
    ]
    titles = {key: name for key, name, _ in rows(plan)}
    ratios = [*RATIOS, *(f"clients.{count}.total" for count in plan.clients)]
    bases = dict.fromkeys([*(["llama-server"] if "llama-server" in names else []), names[0]])
    for base in bases:
        others = [name for name in names if name != base]
        if others:
            cells = [
                (titles[key], lambda who, k=key, b=base: shown(found.ratios(who, b, k), 2)) for key in ratios
            ]
            parts.append(table(f"as a multiple of {base}", others, cells))
    return "\n\n".join(parts)


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{model}, {os.cpu_count()} processors, Python {platform.python_version()}, load average {load}"


def described(settings: Settings, plan: Plan, contenders: list[Contender]) -> str:
    """Write out what figures depend on, so that those of other settings are not mixed with them."""
    versions = {each.name: each.version for each in contenders}
    known = {
        **msgspec.to_builtins(plan),
        "model": settings.model.name,
        "context": settings.context,
        "threads": [settings.threads, settings.threads_batch],
        "slots": settings.slots,
        "gateway": settings.gateway,
    }
    return json.dumps(known | {"versions": versions}, sort_keys=True)


async def measure(
    contenders: list[Contender], settings: Settings, plan: Plan, options: argparse.Namespace
) -> list[Visit]:
    key = described(settings, plan, contenders)
    visits = [each for each in read(options.results) if each.settings == key]
    done = {(each.round, each.contender) for each in visits}
    until = time.monotonic() + options.minutes * 60
    for number in range(options.rounds):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            if (number, contender.name) in done:
                continue
            if time.monotonic() > until:
                print(f"{options.minutes:g} minutes are over in round {number + 1}", file=sys.stderr)
                return visits
            began = time.monotonic()
            try:
                figures = await visit(contender, settings, plan, number)
            except (Absent, Wrong, aiohttp.ClientError, OSError, TimeoutError) as reason:
                print(
                    f"round {number + 1}, {contender.name} failed: {type(reason).__name__} {reason}",
                    file=sys.stderr,
                )
                continue
            visits.append(Visit(settings=key, round=number, contender=contender.name, figures=figures))
            write(options.results, visits[-1])
            took = time.monotonic() - began
            print(f"round {number + 1}, {contender.name}: {took:.0f} s", file=sys.stderr, flush=True)
    return visits


def arguments() -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a file or a name of the catalogue")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="three small rounds")
    parser.add_argument("--minutes", type=float, default=120, help="nothing is begun after that")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--llama-server", type=Path, help="its program, where it is not on PATH")
    parser.add_argument("--results", type=Path, help="keep visits there, and go on from it")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1 if cores <= 2 else cores // 2, help="that write")
    parser.add_argument("--threads-batch", type=int, default=cores, help="that read the prompt")
    parser.add_argument("--slots", type=int, default=4, help="answers that a server may write at once")
    parser.add_argument("--document", type=int, help="tokens of the document")
    parser.add_argument("--clients", type=int, nargs="+")
    parser.add_argument("--gateway", type=json.loads, default={}, help="further options of llm, as JSON")
    parser.add_argument("--report", action="store_true", help="measure nothing, show what --results holds")
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    plan = QUICK if options.quick else PLAN
    plan = msgspec.structs.replace(
        plan,
        document=options.document or plan.document,
        clients=tuple(options.clients or plan.clients),
    )
    options.rounds = options.rounds or (3 if options.quick else 9)
    settings = Settings(
        model=(await fetch(options.model)).resolve(),
        context=options.context,
        threads=options.threads,
        threads_batch=options.threads_batch,
        slots=options.slots,
        llama_server=options.llama_server,
        gateway=options.gateway,
    )
    contenders = await find(settings, options.only)
    print(machine())
    print(f"{settings.model.name}, window {settings.context}, {settings.threads} threads write and")
    print(f"{settings.threads_batch} read, {settings.slots} answers at once at most")
    for each in contenders:
        print(f"- {each.name}: {each.version}")
    visits = await measure(contenders, settings, plan, options)
    if visits:
        print(f"\n{report(visits, plan)}")
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
