"""How long an answer over several paths takes, end to end over HTTP, in times one over a single path.

A gateway that is a process of its own answers each question over one path and over several in turn, once with
a model inside it and once in front of a server that takes a second for each answer, however many it is asked
for at once: with answers that are chosen from, and with drafts that are written into one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import aiohttp
import msgspec
import peers
from aiohttp import web
from answering import INSTRUCTIONS, MAX_TOKENS
from questions import Question

SEVERAL = 4
_SECONDS = 1.0
_DRAFT_WORDS = 60


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """The mean seconds of an answer over one path and over several, and the answers asked of the model."""

    questions: int
    one: float
    several: float
    asked: float | None = None

    @property
    def row(self) -> str:
        asked = "–" if self.asked is None else f"{self.asked:.1f}"
        return f"{self.one:.2f} | {self.several:.2f} | {self.several / self.one:.2f} | {asked}"


class Upstream:
    """Answers after a second, each time in other words: in one, or at length."""

    def __init__(self) -> None:
        self.asked = 0
        self.words = 1

    async def answer(self, request: web.Request) -> web.Response:
        stream = (await request.json()).get("stream")
        self.asked += 1
        number = self.asked
        await asyncio.sleep(_SECONDS)
        words = (hashlib.sha256(f"{number}:{at}".encode()).hexdigest()[:8] for at in range(self.words))
        part = {"role": "assistant", "content": " ".join(words)}
        choice = {"index": 0, "delta" if stream else "message": part, "finish_reason": "stop"}
        body = {"id": "chatcmpl-walk", "created": 1, "model": "walk", "choices": [choice]}
        body["object"] = "chat.completion.chunk" if stream else "chat.completion"
        if not stream:
            return web.json_response(body)
        return web.Response(
            text=f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n", content_type="text/event-stream"
        )


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    served, port = Upstream(), peers.free_port()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", served.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield served, f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


class Gateway:
    """A running gateway in which texts are stored."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._stored: dict[str, str] = {}
        self._number = 0

    async def store(self, books: Mapping[str, str]) -> None:
        for name, text in books.items():
            async with self._http.post("/v1/documents", json={"text": text}) as response:
                response.raise_for_status()
                self._stored[name] = (await response.json())["id"]
        while True:
            async with self._http.get("/v1/documents") as response:
                states = [each["state"] for each in (await response.json())["data"]]
            if states.count("ready") == len(books):
                return
            await asyncio.sleep(0.5)

    async def seconds(self, question: Question, paths: int) -> float:
        """Ask and tell how long it took; every prompt begins otherwise, so that none has been read before."""
        self._number += 1
        messages = [
            {"role": "system", "content": f"{self._number}. {INSTRUCTIONS[question.lang]}"},
            {"role": "user", "content": question.question},
        ]
        asked = {"documents": [self._stored[question.doc]], "mpr": {"candidates": paths}}
        body = {"messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0, "openkimi": asked}
        began = time.perf_counter()
        async with self._http.post("/v1/chat/completions", json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"the gateway answered {response.status}: {await response.text()}")
            await response.read()
        return time.perf_counter() - began


async def walk(asked: Sequence[Question], running: Gateway, served: Upstream | None = None) -> Walk:
    """Ask each question over one path and over several, the one or the other first in turn."""
    times: dict[int, list[float]] = {1: [], SEVERAL: []}
    counted = 0
    for number, question in enumerate(asked):
        for paths in (1, SEVERAL) if number % 2 else (SEVERAL, 1):
            before = served.asked if served else 0
            times[paths].append(await running.seconds(question, paths))
            counted += (served.asked if served else 0) - before if paths == SEVERAL else 0
    return Walk(
        questions=len(asked),
        one=fmean(times[1]),
        several=fmean(times[SEVERAL]),
        asked=counted / len(asked) if served else None,
    )


async def measure(
    books: Mapping[str, str], asked: Sequence[Question], config: Mapping[str, Any]
) -> dict[str, Walk]:
    """Measure a local model as configured, then a server that answers any number at once."""
    books = {name: text for name, text in books.items() if any(each.doc == name for each in asked)}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        rag = {**config.get("rag", {}), "path": str(Path(folder, "store"))}
        async with peers.client_of({**config, "rag": rag}, Path(folder)) as http:
            running = Gateway(http)
            await running.store(books)
            await running.seconds(asked[0], 1)
            found["a model in this process, gate and early stop"] = await walk(asked, running)
        async with upstream() as (served, url):
            llm = {"type": "openai", "api_url": url, "api_key": "sk-walk", "model_name": "walk"}
            remote = {**config, "llm": {**llm, "context_length": 32_768}, "rag": {"path": rag["path"]}}
            async with peers.client_of(remote, Path(folder)) as http:
                running = Gateway(http)
                await running.store(books)
                for name, words in (("chosen", 1), ("written into one", _DRAFT_WORDS)):
                    served.words = words
                    found[f"a concurrent server, answers {name}"] = await walk(asked, running, served)
    return found


def shown(found: Mapping[str, Walk]) -> str:
    head = f"| Mean seconds | one path | {SEVERAL} paths | times | answers of the model, {SEVERAL} paths |"
    rows = [f"| {name} ({each.questions} questions) | {each.row} |" for name, each in found.items()]
    return "\n".join([head, "|---|---|---|---|---|", *rows])
