"""Is a request ever lost, or answered with another one's words? A thousand at random, on a real model.

    .venv/bin/python benchmarks/mixing.py [--requests 1000] [--connections 16] [--engine llama-cpp]

First each kind of request is answered alone. Then the same kinds are asked in a random order and many at
once: streamed and whole, at temperature 0 and drawn with a seed, on short prompts and on longer ones, and
two of five clients leave, before the first word or after a few. Every answer is compared with the one that
was given alone. One that differs is told apart by its likeness: `mixed up` is nearly the answer to another
prompt. Fails when an answer is lost, mixed up or (but for `--inexact`) different, when the gateway
does not answer as before in the end, or when its memory grows on.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
from answers import PATIENCE, Message, Wrong, body, stream
from contenders import Settings, find
from inference import machine
from visits import PIECE, SPEECH, memory

from openkimi_gguf.fetching import fetch

ALLOWED_GROWTH = 64.0
KINDS = 40
# Answers to different prompts of a kind begin alike; a drawn one that took another turn is no other's answer.
ALIKE = 0.8
TOPICS = (
    *("whales", "bread", "volcanoes", "chess", "the moon", "violins", "Rome", "bicycles", "tea", "glaciers"),
    *("bees", "steam engines", "maps", "opera", "rivers", "ink", "gold", "windmills", "silk", "lighthouses"),
)
Verdict = Literal["right", "differs", "mixed up", "lost", "left"]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request, of which there are many."""

    messages: tuple[Message, ...]
    options: Mapping[str, Any]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests; ``complaints`` says more about those that went wrong."""

    verdicts: Counter[str]
    complaints: list[str]
    seconds: float
    growth: float
    afterwards: int


def kinds(count: int = KINDS) -> list[Kind]:
    """Make so many kinds: short questions and pieces of a speech, half of them drawn with a seed."""
    return [_kind(at) for at in range(count)]


def _kind(at: int) -> Kind:
    drawn = {"temperature": 0.9, "seed": 1000 + at} if at % 2 else {}
    options = {"max_tokens": 8 + at % 9, **drawn}
    if at % 4 == 3:
        start = at * 4001 % (len(SPEECH) - 2 * PIECE)
        text = SPEECH[start : start + 2 * PIECE].strip()
        return Kind(messages=(("system", text), ("user", "What is this about?")), options=options)
    question = f"Tell me {at + 2} facts about {TOPICS[at * 7 % len(TOPICS)]}."
    return Kind(messages=(("user", question),), options=options)


async def whole(http: aiohttp.ClientSession, kind: Kind) -> str:
    """Have it answered in one piece."""
    asked = body(kind.messages, **kind.options)
    async with http.post("/v1/chat/completions", json=asked, timeout=PATIENCE) as response:
        if response.status != 200:
            raise Wrong(f"{response.status}: {(await response.text())[:300]}")
        return (await response.json())["choices"][0]["message"]["content"] or ""


async def streamed(http: aiohttp.ClientSession, kind: Kind) -> str:
    return (await stream(http, kind.messages, **kind.options)).text


async def leave_early(http: aiohttp.ClientSession, kind: Kind, patience: float) -> None:
    """Go after a while, most often while the prompt waits or is read."""
    asked = body(_longer(kind), **{**kind.options, "max_tokens": 200})
    request = asyncio.ensure_future(http.post("/v1/chat/completions", json=asked))
    await asyncio.wait([request], timeout=patience)
    request.cancel()
    for response in await asyncio.gather(request, return_exceptions=True):
        if isinstance(response, aiohttp.ClientResponse):
            response.close()


async def leave_amid(http: aiohttp.ClientSession, kind: Kind, pieces: int) -> None:
    """Go after a few words."""
    asked = body(kind.messages, **{**kind.options, "max_tokens": 200}) | {"stream": True}
    async with http.post("/v1/chat/completions", json=asked, timeout=PATIENCE) as response:
        if response.status != 200:
            raise Wrong(f"{response.status}: {(await response.text())[:300]}")
        async for line in response.content:
            pieces -= b'"content":"' in line
            if pieces < 0:
                break
        response.close()


def _longer(kind: Kind) -> list[Message]:
    return [("system", SPEECH[: 4 * PIECE]), *kind.messages]


async def alone(http: aiohttp.ClientSession, asked: Sequence[Kind]) -> list[str]:
    """Have each kind answered by itself, twice; a kind without one answer is an error of the engine."""
    first = [await whole(http, kind) for kind in asked]
    again = [await streamed(http, kind) for kind in reversed(asked)][::-1]
    for kind, one, other in zip(asked, first, again, strict=True):
        if one != other:
            print(f"alone, {kind.messages[-1][1]!r} is answered {one!r} and {other!r}", file=sys.stderr)
    return first


def judge(text: str, at: int, expected: Sequence[str]) -> Verdict:
    """Compare an answer with the one that was given alone, and with those to the other prompts."""
    if text == expected[at]:
        return "right"
    least = max(ALIKE, likeness(text, expected[at]))
    return "mixed up" if any(likeness(text, each) > least for each in expected) else "differs"


def likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


async def mix(
    http: aiohttp.ClientSession,
    expected: Sequence[str],
    asked: Sequence[Kind],
    *,
    requests: int,
    connections: int,
    minutes: float = 10,
    resident: Callable[[], float] = lambda: 0.0,
) -> Outcome:
    """Ask at random, many at once, and judge every answer."""
    chance, verdicts, complaints = random.Random(5), Counter[str](), []
    order = iter(
        [(at, chance.randrange(len(asked)), chance.random(), chance.random()) for at in range(requests)]
    )
    sizes: list[float] = []
    began = time.monotonic()

    async def one(at: int, way: float, degree: float) -> Verdict:
        kind = asked[at]
        if way < 0.2:
            await leave_early(http, kind, degree**2 * 2)
        elif way < 0.4:
            await leave_amid(http, kind, int(degree * 10))
        else:
            text = await (streamed if way < 0.7 else whole)(http, kind)
            verdict = judge(text, at, expected)
            if verdict != "right":
                complaints.append(f"{verdict}: {kind.messages[-1][1]!r}: {text!r}, alone {expected[at]!r}")
            return verdict
        return "left"

    async def client() -> None:
        for number, at, way, degree in order:
            if time.monotonic() - began > minutes * 60:
                return
            try:
                verdicts[await one(at, way, degree)] += 1
            except (Wrong, aiohttp.ClientError, TimeoutError) as error:
                verdicts["lost"] += 1
                complaints.append(f"lost: {type(error).__name__}: {error}")
            if number % max(1, requests // 10) == 0:
                sizes.append(resident())

    await asyncio.gather(*(client() for _ in range(connections)))
    took = time.monotonic() - began
    again = [judge(await whole(http, asked[at]), at, expected) for at in range(0, len(asked), 4)]
    sizes.append(resident())
    return Outcome(
        verdicts=verdicts,
        complaints=complaints,
        seconds=took,
        growth=sizes[-1] - sizes[len(sizes) // 3],
        afterwards=sum(verdict != "right" for verdict in again),
    )


def good(outcome: Outcome, requests: int, *, exact: bool) -> bool:
    """Tell whether nothing was lost, mixed up or left behind."""
    verdicts = outcome.verdicts
    wrong = verdicts["lost"] + verdicts["mixed up"] + ((verdicts["differs"] + outcome.afterwards) * exact)
    return not wrong and verdicts.total() == requests and outcome.growth <= ALLOWED_GROWTH


def show(outcome: Outcome, requests: int) -> None:
    for complaint in outcome.complaints[:20]:
        print(complaint)
    verdicts = outcome.verdicts
    counts = ", ".join(f"{verdict} {verdicts[verdict]}" for verdict in ("right", "left"))
    print(f"{verdicts.total()} of {requests} requests in {outcome.seconds:.0f} s: {counts}")
    print(", ".join(f"{verdict} {verdicts[verdict]}" for verdict in ("lost", "mixed up", "differs")))
    print(f"different afterwards, alone: {outcome.afterwards}")
    print(f"growth of memory after the first third: {outcome.growth:+.1f} MB (at most {ALLOWED_GROWTH:g})")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a file or a name of the catalogue")
    parser.add_argument("--engine", choices=("llama-cpp", "xllamacpp"), default="llama-cpp")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=15, help="nothing is asked after that")
    parser.add_argument("--slots", type=int, default=4, help="answers that are written at once")
    parser.add_argument("--inexact", action="store_true", help="answers may differ from those given alone")
    return parser.parse_args()


async def main() -> int:
    options = arguments()
    model = (await fetch(options.model)).resolve()
    settings = Settings(model=model, context=4096, threads=1, threads_batch=2, slots=options.slots)
    try:
        (contender,) = await find(settings, [options.engine])
    except ValueError as error:
        raise SystemExit(2) from error
    print(machine())
    print(f"{contender.name}: {contender.version}, {model.name}")
    asked = kinds()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            contender.start(settings, Path(folder)) as server,
            aiohttp.ClientSession(server.url) as http,
        ):
            expected = await alone(http, asked)
            outcome = await mix(
                http,
                expected,
                asked,
                requests=options.requests,
                connections=options.connections,
                minutes=options.minutes,
                resident=lambda: memory(server.pid).get("memory", 0.0),
            )
    show(outcome, options.requests)
    return 0 if good(outcome, options.requests, exact=not options.inexact) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
