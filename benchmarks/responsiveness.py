"""How soon /health answers while a large document is processed.

    .venv/bin/python benchmarks/responsiveness.py [--megabytes 10]

Starts the gateway as a process of its own with the dummy model and the real processor, embedder and
LanceDB, posts a document, and asks for /health every 20 ms from outside. The same is measured while
nothing else happens: that is the baseline of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import tempfile
import time
from pathlib import Path

import aiohttp
from latencies import show
from listening import listening

SPEECH = Path(__file__).parents[1] / "tests/data/truman-1946.txt"


def document(megabytes: int) -> str:
    text = SPEECH.read_text("utf-8")
    copies = megabytes * 1_000_000 // len(text) + 1
    return "\n\n".join(text.replace("the", f"the {number}th") for number in range(copies))


async def probe(http: aiohttp.ClientSession, until: asyncio.Future[object]) -> list[float]:
    """Ask for /health until the future is done; latencies in milliseconds."""
    latencies = []
    while not until.done():
        started = time.perf_counter()
        async with http.get("/health") as response:
            await response.read()
        latencies.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.02)
    return latencies


async def measure(url: str, text: str) -> None:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": "How many Americans died?"}]
    body = json.dumps({"messages": messages}).encode()
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(3600)) as http:

        async def ask() -> float:
            started = time.perf_counter()
            async with http.post("/v1/chat/completions", data=io.BytesIO(body)) as response:
                response.raise_for_status()
                await response.read()
            return time.perf_counter() - started

        show("idle", await probe(http, asyncio.ensure_future(asyncio.sleep(3))))
        first = asyncio.create_task(ask())
        show("first question", await probe(http, first))
        print(f"{'':24} answered after {first.result():.1f} s")
        second = asyncio.create_task(ask())
        show("second question", await probe(http, second))
        print(f"{'':24} answered after {second.result():.2f} s")
        show("vectors in background", await probe(http, asyncio.ensure_future(asyncio.sleep(20))))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=10)
    text = document(parser.parse_args().megabytes)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"llm": {"type": "dummy"}, "rag": {"path": f"{folder}/lancedb"}}))
        async with listening(config) as (url, _):
            await measure(url, text)


if __name__ == "__main__":
    asyncio.run(main())
