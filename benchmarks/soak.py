"""Does the gateway's memory stay flat? Thousands of requests of every kind against a real server.

    .venv/bin/python benchmarks/soak.py [--requests 10000] [--connections 16]

Starts ``python -m openkimi.api.server`` with the scripted model and sends it answers, streams, errors,
compressed and damaged bodies, tool calls, a document, clients that leave early and clients that stop in
the middle of a request. Prints the server's resident memory after every thousand, and fails when it goes
on growing after the first three thousand, when an answer has the wrong status, or when the server is not
idle at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
BOOK = "\n\n".join(f"Chapter {at}. The keeper of lighthouse {at} is called Ada {at}." for at in range(2000))
CHAT = "/v1/chat/completions"
WARM, ALLOWED_GROWTH = 3000, 16.0

Kind = Callable[[aiohttp.ClientSession, int], Awaitable[str]]


def post(body: Any, expected: int, **headers: str) -> Kind:
    """Make a request whose answer is read to its end."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "Content-Type": "application/json",
        **{name.replace("_", "-"): headers[name] for name in headers},
    }

    async def send(http: aiohttp.ClientSession, port: int) -> str:
        async with http.post(CHAT, data=data, headers=named) as response:
            await response.read()
            return "" if response.status == expected else f"{response.status} for {data[:80]!r}"

    return send


def get(path: str, expected: int) -> Kind:
    async def send(http: aiohttp.ClientSession, port: int) -> str:
        async with http.get(path) as response:
            await response.read()
            return "" if response.status == expected else f"{response.status} for {path}"

    return send


async def leave_a_stream(http: aiohttp.ClientSession, port: int) -> str:
    """Read the first event and go."""
    async with http.post(CHAT, json={**HELLO, "stream": True, "n": 4}) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    return ""


async def leave_at_once(http: aiohttp.ClientSession, port: int) -> str:
    """Send a request and go before it is answered."""
    request = asyncio.ensure_future(http.post(CHAT, json=HELLO))
    await asyncio.sleep(random.random() * 0.003)
    request.cancel()
    for response in await asyncio.gather(request, return_exceptions=True):
        if isinstance(response, aiohttp.ClientResponse):
            response.close()
    return ""


async def stop_in_the_middle(http: aiohttp.ClientSession, port: int) -> str:
    """Send half of a body and go."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b'{"messages"')
    await writer.drain()
    writer.transport.abort()
    return ""


KINDS: dict[str, tuple[int, Kind]] = {
    "answer": (8, post(HELLO, 200)),
    "stream": (8, post({**HELLO, "stream": True}, 200)),
    "four answers": (2, post({**HELLO, "n": 4, "logprobs": True, "top_logprobs": 3}, 200)),
    "tool call": (2, post({**HELLO, "tools": [TOOL], "tool_choice": "required"}, 200)),
    "document": (1, post({"messages": [{"role": "system", "content": BOOK}, *HELLO["messages"]]}, 200)),
    "compressed": (2, post(gzip.compress(json.dumps(HELLO).encode()), 200, Content_Encoding="gzip")),
    "wrong field": (4, post({**HELLO, "temperature": "hot"}, 400)),
    "no JSON": (3, post(b'{"messages": [', 400)),
    "deep JSON": (1, post(b'{"messages":[],"x":' + b"[" * 50_000, 400)),
    "wrong type": (1, post(b"<xml/>", 415, Content_Type="application/xml")),
    "damaged gzip": (1, post(gzip.compress(b"{}")[:-4], 400, Content_Encoding="gzip")),
    "no address": (2, get("/v1/nowhere", 404)),
    "models": (2, get("/v1/models", 200)),
    "health": (2, get("/health", 200)),
    "left a stream": (4, leave_a_stream),
    "left at once": (4, leave_at_once),
    "stopped": (2, stop_in_the_middle),
}


def serve(folder: str, port: int) -> subprocess.Popen[bytes]:
    config = Path(folder) / "config.json"
    config.write_text(
        json.dumps({"llm": {"type": "scripted", "token_delay": 0.001}, "rag": {"path": f"{folder}/lancedb"}})
    )
    command = [sys.executable, "-m", "openkimi.api.server", "-c", str(config), "--port", str(port)]
    return subprocess.Popen([*command, "--log-level", "error"], stdout=subprocess.DEVNULL)


async def ready(http: aiohttp.ClientSession) -> None:
    for _ in range(300):
        try:
            async with http.get("/health") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the server did not start")


def resident(process: subprocess.Popen[bytes]) -> float:
    """Return resident memory in MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors(process: subprocess.Popen[bytes]) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def soak(port: int, process: subprocess.Popen[bytes], requests: int, connections: int) -> bool:
    """Send the requests; True where memory stayed flat and every status was right."""
    chance, wrong, sent = random.Random(1), Counter[str](), Counter[str]()
    names, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    order = iter(chance.choices(names, weights, k=requests))
    memory: list[tuple[int, float]] = []
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as http:
        await ready(http)
        began = time.perf_counter()
        print(f"{0:>7} requests {resident(process):7.1f} MiB, {descriptors(process)} descriptors", flush=True)

        async def worker() -> None:
            for name in order:
                try:
                    complaint = await KINDS[name][1](http, port)
                except (aiohttp.ClientError, TimeoutError) as error:
                    complaint = f"{type(error).__name__} for {name}"
                wrong.update([complaint] if complaint else [])
                sent[name] += 1
                if sent.total() % 1000 == 0:
                    memory.append((sent.total(), resident(process)))
                    print(f"{sent.total():>7} requests {memory[-1][1]:7.1f} MiB", flush=True)

        await asyncio.gather(*(worker() for _ in range(connections)))
        rate = sent.total() / (time.perf_counter() - began)
        await KINDS["answer"][1](http, port)
    await asyncio.sleep(1)
    print(f"{rate:.0f} requests/s; at the end {descriptors(process)} descriptors")
    print(", ".join(f"{name} {count}" for name, count in sent.most_common()))
    for complaint, count in wrong.most_common(10):
        print(f"wrong: {count} × {complaint}")
    warm = [size for at, size in memory if at >= min(WARM, requests // 2)]
    growth = warm[-1] - warm[0] if warm else 0.0
    print(f"growth after the first {WARM}: {growth:+.1f} MiB (at most {ALLOWED_GROWTH:g})")
    return not wrong and growth <= ALLOWED_GROWTH


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        process = serve(folder, port)
        try:
            flat = asyncio.run(soak(port, process, options.requests, options.connections))
        finally:
            process.terminate()
            process.wait(20)
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
