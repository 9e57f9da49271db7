"""What callers notice of reloads: requests that fail, and how much later answers come.

    .venv/bin/python benchmarks/reload.py [--reloads 30] [--callers 8]

Starts the gateway as a process of its own with the dummy model, metrics and the response cache. Callers ask
in a row, every other one for a stream. Rounds without a reload, with reloads that change nothing, and with
reloads that change the model take turns; the first are the baseline of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from latencies import show
from listening import listening

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}
ROUNDS = ("no reload", "nothing changed", "another model")
EVERY = 1.0


class Callers:
    """Ask in a row, and note how long each answer took and what failed."""

    def __init__(self, http: aiohttp.ClientSession, number: int) -> None:
        self._http = http
        self._number = number
        self.failed: list[str] = []

    async def during(self, work: Callable[[], Awaitable[None]]) -> list[float]:
        """Ask while some work is done; latencies in milliseconds."""
        latencies: list[float] = []
        task = asyncio.ensure_future(work())

        async def call(stream: bool) -> None:
            while not task.done():
                started = time.perf_counter()
                await self._ask(stream)
                latencies.append((time.perf_counter() - started) * 1000)

        await asyncio.gather(task, *(call(at % 2 == 0) for at in range(self._number)))
        return latencies

    async def _ask(self, stream: bool) -> None:
        try:
            async with self._http.post("/v1/chat/completions", json={**HELLO, "stream": stream}) as response:
                text = await response.text()
        except aiohttp.ClientError as error:
            self.failed.append(repr(error))
            return
        is_whole = text.endswith("data: [DONE]\n\n") if stream else '"finish_reason":"stop"' in text
        if response.status != 200 or not is_whole:
            self.failed.append(text[-200:])


def write(path: Path, number: int) -> None:
    """Write a config whose model answers by a number."""
    sections: dict[str, Any] = {
        "llm": {"type": "dummy", "reply": f"{number} " + "word " * 40, "token_delay": 0.005},
        "rag": {"type": "lancedb", "persist": False},
        "plugins": {"options": {"metrics": {"enabled": True}, "response_cache": {"enabled": True}}},
    }
    path.write_text(json.dumps(sections))


async def metric(http: aiohttp.ClientSession, name: str) -> float:
    async with http.get("/plugins/metrics") as response:
        lines = (await response.text()).splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def reloads(http: aiohttp.ClientSession, pid: int, number: int, prepare: Callable[[], None]) -> None:
    """Reload so many times, each after the one before has taken effect."""
    for _ in range(number):
        begun = time.perf_counter()
        before = await metric(http, "openkimi_reloads_done_total")
        prepare()
        os.kill(pid, signal.SIGHUP)
        while await metric(http, "openkimi_reloads_done_total") == before:
            await asyncio.sleep(0.05)
        await asyncio.sleep(max(0.0, EVERY - (time.perf_counter() - begun)))


async def measure(http: aiohttp.ClientSession, pid: int, config: Path, number: int, callers: Callers) -> None:
    numbers = itertools.count(1)
    per_round = max(1, number // 3)
    latencies: dict[str, list[float]] = {name: [] for name in ROUNDS}
    works: dict[str, Callable[[], Awaitable[None]]] = {
        "no reload": lambda: asyncio.sleep(per_round * EVERY),
        "nothing changed": lambda: reloads(http, pid, per_round, lambda: None),
        "another model": lambda: reloads(http, pid, per_round, lambda: write(config, next(numbers))),
    }
    for turn in range(3):
        for name in ROUNDS:
            latencies[name] += await callers.during(works[name])
        megabytes = await metric(http, "process_resident_memory_bytes") / 1e6
        files = await metric(http, "process_open_fds")
        print(f"after {2 * per_round * (turn + 1):3} reloads: {megabytes:4.0f} MB, {files:.0f} open files")
    for name in ROUNDS:
        show(name, latencies[name])
    print(f"{sum(map(len, latencies.values()))} requests, {len(callers.failed)} failed", *callers.failed[:3])


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reloads", type=int, default=30, help="reloads of each kind")
    parser.add_argument("--callers", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        write(config, 0)
        async with listening(config) as (url, pid), aiohttp.ClientSession(url) as http:
            callers = Callers(http, arguments.callers)
            await callers.during(lambda: asyncio.sleep(2))
            await measure(http, pid, config, arguments.reloads, callers)


if __name__ == "__main__":
    asyncio.run(main())
