"""What is measured of one server in one round: first tokens, speed, several clients, memory."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import aiohttp
import msgspec
from answers import Answer, Message, stream
from contenders import Contender, Server, Settings
from peers import ROOT
from rounds import Figures

SPEECH = (ROOT / "tests/data/truman-1946.txt").read_text("utf-8")
CHARACTERS_PER_TOKEN = 4.2
# A piece of the speech that a client has continued: about 120 tokens, another one each time.
PIECE = 500
QUESTIONS = ("What is said about the budget?", "Which problems of the country are named?")
WARM_UP: list[Message] = [("user", "Say hello.")]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured: tokens of document and answer, numbers of clients, packs of a long text."""

    document: int
    tokens: int
    clients: tuple[int, ...]
    asked: int
    packs: bool


class Pieces:
    """Pieces of the speech, none twice in a round, the same ones for every contender."""

    def __init__(self, number: int) -> None:
        self._at = number * 37 * PIECE

    def next(self) -> list[Message]:
        self._at = (self._at + PIECE) % (len(SPEECH) - PIECE)
        piece = SPEECH[self._at : self._at + PIECE].strip()
        return [("user", f"Continue this speech with several long paragraphs:\n\n{piece}")]


async def visit(contender: Contender, settings: Settings, plan: Plan, number: int) -> Figures:
    """Start a server, measure, start it again on the same folder, measure on."""
    document = _document(plan.document, number)
    pieces = Pieces(number)
    found: Figures = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with _open(contender, settings, folder) as (server, http):
            found["start"] = server.starting
            cold = await stream(http, _asking(document, 0), max_tokens=16)
            second = await stream(http, _asking(document, 1), max_tokens=16)
            found |= _named("cold", cold) | _named("second", second)
            found["second.factor"] = cold.first / second.first
            if plan.packs and contender.reads_documents:
                found |= await _packs(http)
        async with _open(contender, settings, folder) as (server, http):
            again = await stream(http, _asking(document, 0), max_tokens=16)
            found |= _named("restart", again)
            found["restart.factor"] = cold.first / again.first
            if plan.packs and contender.reads_documents:
                packed = await stream(http, _asking(SPEECH, 0), max_tokens=16)
                found |= _named("packs.restart", packed)
                found["packs.restart.factor"] = found["packs.first"] / packed.first
            found |= await _writing(http, plan, pieces)
            found |= await _together(http, plan, pieces)
            found |= await _disturbed(http, plan, pieces, number)
            found |= memory(server.pid)
    return found


@asynccontextmanager
async def _open(
    contender: Contender, settings: Settings, folder: Path
) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    """Start a server and ask it for a few words, so that what is loaded late is there."""
    # A connection for each request: servers differ in how long they keep one, and aiohttp sends POST once.
    fresh = aiohttp.TCPConnector(force_close=True, limit=0)
    async with (
        contender.start(settings, folder) as server,
        aiohttp.ClientSession(server.url, connector=fresh) as http,
    ):
        await stream(http, WARM_UP, max_tokens=4)
        yield server, http


def _document(tokens: int, number: int) -> str:
    """Cut so many tokens of the speech, from another place in each round."""
    size = int(tokens * CHARACTERS_PER_TOKEN)
    start = (number * 7919) % max(1, len(SPEECH) - size)
    return SPEECH[start : start + size].strip()


def _asking(document: str, question: int) -> list[Message]:
    return [("system", document), ("user", QUESTIONS[question])]


def _named(name: str, answer: Answer) -> Figures:
    found = {f"{name}.first": answer.first, "document": answer.prompt, f"{name}.cached": answer.cached}
    if not name.startswith("cold"):
        del found["document"]
    return {key: value for key, value in found.items() if value is not None}


async def _packs(http: aiohttp.ClientSession) -> Figures:
    """Ask about a text that is longer than the window, at first sight and once its vectors are complete."""
    first = await stream(http, _asking(SPEECH, 0), max_tokens=16)
    async with asyncio.timeout(300):
        while not await _complete(http):
            await asyncio.sleep(0.5)
    second = await stream(http, _asking(SPEECH, 1), max_tokens=16)
    found = _named("packs", first) | _named("packs.second", second)
    found["packs.first"] = found.pop("packs.first")
    return found | {"packs.prompt": first.prompt or 0, "packs.second.factor": first.first / second.first}


async def _complete(http: aiohttp.ClientSession) -> bool:
    async with http.get("/v1/documents") as response:
        return all(document["state"] == "ready" for document in (await response.json())["data"])


async def _writing(http: aiohttp.ClientSession, plan: Plan, pieces: Pieces) -> Figures:
    """Write a longer answer, the likeliest tokens and drawn ones."""
    greedy = await stream(http, pieces.next(), max_tokens=plan.tokens)
    drawn = await stream(http, pieces.next(), max_tokens=plan.tokens, temperature=0.8, seed=7)
    return {"decode": greedy.rate, "sampled": drawn.rate, "decode.tokens": greedy.tokens}


async def _together(http: aiohttp.ClientSession, plan: Plan, pieces: Pieces) -> Figures:
    """Let several clients ask one thing after another at the same time."""
    found: Figures = {}
    alone = 0.0
    for count in plan.clients:
        asked = [[pieces.next() for _ in range(plan.asked)] for _ in range(count)]
        began = perf_counter()
        lists = await asyncio.gather(*(_one_after_another(http, each, plan.tokens // 2) for each in asked))
        took = perf_counter() - began
        answers = [answer for each in lists for answer in each]
        rates = [sum(a.tokens for a in each) / sum(a.ended for a in each) for each in lists]
        times = [answer.ended for answer in answers]
        alone = alone or statistics.median(times) / count
        found |= {
            f"clients.{count}.total": sum(answer.tokens for answer in answers) / took,
            f"clients.{count}.each": statistics.median(rates),
            f"clients.{count}.slowest": min(rates),
            f"clients.{count}.unequal": max(times) / statistics.mean(times),
            f"clients.{count}.share": max(times) / (count * alone),
            f"clients.{count}.first": max(answer.first for answer in answers),
        }
    return found


async def _one_after_another(
    http: aiohttp.ClientSession, asked: Sequence[list[Message]], tokens: int
) -> list[Answer]:
    return [await stream(http, each, max_tokens=tokens) for each in asked]


async def _disturbed(http: aiohttp.ClientSession, plan: Plan, pieces: Pieces, number: int) -> Figures:
    """Tell how long two readers see nothing new while a long prompt of another client is read."""
    over = asyncio.Event()

    async def reader() -> float:
        silence = 0.0
        while not over.is_set():
            answer = await stream(http, pieces.next(), max_tokens=plan.tokens // 2)
            silence = max(silence, answer.first, answer.longest_gap)
        return silence

    readers = [asyncio.create_task(reader()) for _ in range(2)]
    try:
        await asyncio.sleep(0.5)
        long = await stream(http, _asking(_document(plan.document, number + 1000), 0), max_tokens=1)
    finally:
        over.set()
        silences = await asyncio.gather(*readers)
    return {"disturbed.silence": max(silences), "disturbed.first": long.first}


def memory(pid: int) -> Figures:
    """Read resident memory and its highest mark, in MB, of a process and its children."""
    found = {"memory": 0.0, "peak": 0.0}
    for each in _family(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if key := {"VmRSS": "memory", "VmHWM": "peak"}.get(name):
                found[key] += int(value.split()[0]) / 1000
    return {name: size for name, size in found.items() if size}


def _family(pid: int) -> list[int]:
    if not Path(f"/proc/{pid}/status").exists():
        return []
    # Each thread lists the children that it started.
    children = [
        each for listed in Path(f"/proc/{pid}/task").glob("*/children") for each in listed.read_text().split()
    ]
    return [pid, *(each for child in children for each in _family(int(child)))]
