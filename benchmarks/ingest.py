"""How soon a long document answers, and what it costs.

    .venv/bin/python benchmarks/ingest.py [--tokens 1000000] [--text FILE …] [--config '{"rag": …}']

Starts the gateway as a process of its own with the dummy model and the real processor, embedder and
LanceDB, sends a document in a chat as users do, and watches from outside: when the document can be searched
by its words, when the first piece of the first answer comes, what later questions take while vectors are
missing and when they are complete, memory (``VmHWM`` of Linux) and disk. Questions name the stored document,
so that their time is that of the retrieval, the packing and one round trip.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
from listening import listening

SPEECH = Path(__file__).parents[1] / "tests/data/truman-1946.txt"
CHARACTERS_PER_TOKEN = 4.2
ASKED = 40
WORD = re.compile(r"[A-Za-z]{5,}")


def document(paths: Sequence[Path], tokens: int) -> str:
    """Repeat the texts, changed a little each time, until there are so many tokens."""
    source, wanted = (
        "\n\n".join(path.read_text("utf-8") for path in paths),
        int(tokens * CHARACTERS_PER_TOKEN),
    )
    copies = range(wanted // len(source) + 1)
    return "\n\n".join(
        source.replace(" the ", f" the {number}th ") if number else source for number in copies
    )[:wanted]


def questions(text: str) -> list[str]:
    """Make questions of a few words that stand near each other, from all over the text."""
    places = range(len(text) // ASKED // 2, len(text) - 500, len(text) // ASKED)
    return [f"What about {' and '.join(WORD.findall(text[place : place + 500])[:4])}?" for place in places]


def memory(process: int) -> dict[str, float]:
    """Read resident memory and its highest mark, in MB."""
    status = Path(f"/proc/{process}/status")
    found = re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status.read_text()) if status.exists() else []
    return {name: int(value) / 1000 for name, value in found}


def processor_time(process: int) -> float:
    """Read how many seconds of processor time a process has used."""
    status = Path(f"/proc/{process}/stat")
    fields = status.read_text().rpartition(")")[2].split() if status.exists() else ["0"] * 13
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


def show(name: str, value: str) -> None:
    print(f"{name:46} {value}", flush=True)


def seconds(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"median {statistics.median(ordered) * 1000:6.1f} ms   slowest {ordered[-1] * 1000:6.1f} ms"


class Caller:
    """Asks the gateway, as a client does."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def chat(self, body: bytes) -> tuple[float, float]:
        """Tell when the first piece of the answer came, and the last."""
        started = time.perf_counter()
        first = None
        async with self._http.post("/v1/chat/completions", data=io.BytesIO(body)) as response:
            response.raise_for_status()
            async for line in response.content:
                if first is None and re.search(rb'"content":"[^"]', line):
                    first = time.perf_counter() - started
        return first or 0.0, time.perf_counter() - started

    async def ask(self, question: str, document_id: str) -> float:
        """Ask about a stored document and tell how long the answer took."""
        return (await self.chat(asking([("user", question)], documents=[document_id])))[1]

    async def stored(self) -> dict[str, Any] | None:
        """Look the document up in the list of what is stored."""
        async with self._http.get("/v1/documents") as response:
            listed = (await response.json())["data"]
        return listed[0] if listed else None

    async def wait(self, state: str, started: float) -> float:
        """Wait until the document is listed in that state, or a later one."""
        while (known := await self.stored()) is None or known["state"] not in {state, "ready"}:
            await asyncio.sleep(0.05)
        return time.perf_counter() - started


def asking(messages: Sequence[tuple[str, str]], **options: Any) -> bytes:
    listed = [{"role": role, "content": content} for role, content in messages]
    return json.dumps({"messages": listed, "stream": True, "openkimi": options}).encode()


async def measure(caller: Caller, process: int, text: str, folder: Path) -> None:
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    asked = questions(text)
    body = asking([("system", text), ("user", asked[0])])
    await caller.chat(asking([("user", "Hello")]))
    before = memory(process)["VmRSS"]
    show("document", f"{len(text):,} characters, about {len(text) / CHARACTERS_PER_TOKEN:,.0f} tokens")

    used, started = processor_time(process), time.perf_counter()
    lexical = asyncio.create_task(caller.wait("lexical", started))
    first, _ = await caller.chat(body)
    show("searchable by its words", f"{await lexical:.2f} s")
    show("first answer begins", f"{first:.2f} s")
    show(
        "memory at its highest, above the start",
        f"{memory(process)['VmHWM'] - before:.0f} MB of {before:.0f}",
    )
    show("the same request again", f"{(await caller.chat(body))[1]:.2f} s")
    known = await caller.stored()
    assert known is not None
    early = [await caller.ask(each, known["id"]) for each in asked[: ASKED // 2]]
    show("later questions, vectors missing", seconds(early))
    ready = await caller.wait("ready", started)
    used = processor_time(process) - used
    show("vectors complete", f"{ready:.1f} s, {used:.1f} s of one processor until then")
    show(
        "later questions, vectors complete", seconds([await caller.ask(each, known["id"]) for each in asked])
    )
    show("the same request again", f"{(await caller.chat(body))[1]:.2f} s")
    show("memory at its highest, above the start", f"{memory(process)['VmHWM'] - before:.0f} MB")
    await asyncio.sleep(2)
    show("memory afterwards, above the start", f"{memory(process)['VmRSS'] - before:.0f} MB")
    show("disk", disk(folder))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--text", type=Path, nargs="+", default=[SPEECH])
    parser.add_argument("--config", type=json.loads, default={})
    options = parser.parse_args()
    text = document(options.text, options.tokens)
    with tempfile.TemporaryDirectory() as folder:
        config, place = Path(folder, "config.json"), Path(folder, "lancedb")
        rag = {"path": str(place), **options.config.get("rag", {})}
        config.write_text(json.dumps({"llm": {"type": "dummy"}, **options.config, "rag": rag}))
        patience = aiohttp.ClientTimeout(3600)
        async with (
            listening(config) as (url, pid),
            aiohttp.ClientSession(url, timeout=patience) as http,
        ):
            await measure(Caller(http), pid, text, place)


if __name__ == "__main__":
    asyncio.run(main())
