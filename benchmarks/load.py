"""A load generator that costs little: raw connections, each with one request at a time.

    .venv/bin/python benchmarks/load.py http://127.0.0.1:8000/v1 --connections 16 --seconds 2 [--stream]

Prints one JSON object. Every answer is checked for its status, first and last token;
a wrong one counts as failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop
from fake_upstream import TOKENS

_FIRST, _LAST = TOKENS[0].encode(), TOKENS[-1].encode()
_WARM_UP = 0.3


def request(url: str, headers: dict[str, str], *, stream: bool) -> bytes:
    parts = urlsplit(url)
    content = "Who was the president of the United States in 1946, and what did he say about homes?"
    payload: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": content}]}
    body = json.dumps({**payload, "stream": stream}).encode()
    head = [
        f"POST {parts.path}/chat/completions HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        "Authorization: Bearer sk-benchmark",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """Sends a request, waits for the whole answer, and does so again until it is told to stop."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self.done = asyncio.get_running_loop().create_future()
        self.whole: list[tuple[float, float]] = []
        self.first: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.failed += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        self._answer += data
        if not self._first and _FIRST in self._answer:
            self._first = now
        if self._complete():
            self._note(now)
            self._ask()

    def _ask(self) -> None:
        self._answer, self._first = b"", 0.0
        self._asked = perf_counter()
        if self._asked >= self._until:
            self.done.set_result(None)
            self._transport.close()
            return
        self._transport.write(self._request)

    def _complete(self) -> bool:
        head, found, body = self._answer.partition(b"\r\n\r\n")
        _, sized, after = head.lower().partition(b"content-length:")
        if sized and found:
            return len(body) >= int(after.split(b"\r\n", 1)[0])
        return self._answer.endswith(b"0\r\n\r\n")

    def _note(self, now: float) -> None:
        right = self._answer.startswith(b"HTTP/1.1 200") and self._first and _LAST in self._answer
        if not right:
            self.failed += 1
            return
        self.whole.append((now, now - self._asked))
        self.first.append(self._first - self._asked)


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def summary(connections: list[Connection], began: float, ended: float) -> dict[str, float]:
    """Sum up what was answered after the warm-up; times in milliseconds."""
    kept = [
        (took * 1000, first * 1000)
        for connection in connections
        for (at, took), first in zip(connection.whole, connection.first, strict=True)
        if at >= began
    ]
    failed = sum(connection.failed for connection in connections)
    if not kept:
        return {"failed": failed, "rate": 0.0, "answered": 0}
    took, first = [each[0] for each in kept], [each[1] for each in kept]
    return {
        "failed": failed,
        "answered": sum(len(connection.whole) for connection in connections),
        "rate": len(kept) / (ended - began),
        "p50": statistics.median(took),
        "p99": percentile(took, 99),
        "first_p50": statistics.median(first),
        "first_p99": percentile(first, 99),
    }


async def run(options: argparse.Namespace) -> dict[str, float]:
    headers = dict(header.split(": ", 1) for header in options.header)
    data = request(options.url, headers, stream=options.stream)
    parts = urlsplit(options.url)
    loop = asyncio.get_running_loop()
    began = perf_counter() + _WARM_UP
    until = began + options.seconds
    connections = [
        (await loop.create_connection(lambda: Connection(data, until), parts.hostname, parts.port))[1]
        for _ in range(options.connections)
    ]
    await asyncio.wait([connection.done for connection in connections], timeout=options.seconds + 20)
    return summary(connections, began, perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--header", action="append", default=[], help="such as 'x-portkey-provider: openai'")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
