"""One streamed answer, with the times at which its pieces came, as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import aiohttp
import msgspec

PATIENCE = aiohttp.ClientTimeout(total=600)
Message = tuple[str, str]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came, in seconds since the request was sent.

    ``prompt`` and ``cached`` are the server's own count of tokens, None where it does not tell; ``tokens`` is
    its count, or the number of pieces where it does not count.
    """

    text: str
    arrivals: tuple[float, ...]
    ended: float
    tokens: int
    prompt: int | None = None
    cached: int | None = None

    @property
    def first(self) -> float:
        """When the first piece came."""
        return self.arrivals[0]

    @property
    def rate(self) -> float:
        """The tokens a second after the first one."""
        took = self.arrivals[-1] - self.arrivals[0]
        return (self.tokens - 1) / took if took else 0.0

    @property
    def longest_gap(self) -> float:
        """The longest time between two pieces."""
        return max((b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False)), default=0.0)


class Wrong(Exception):
    """A server answered something that is no answer; says what."""


def body(messages: Sequence[Message], *, max_tokens: int, **options: Any) -> dict[str, Any]:
    listed = [{"role": role, "content": content} for role, content in messages]
    return {"model": "local", "messages": listed, "max_tokens": max_tokens, "temperature": 0, **options}


async def stream(
    http: aiohttp.ClientSession, messages: Sequence[Message], *, max_tokens: int, **options: Any
) -> Answer:
    """Ask and read the answer to its end.

    Raises:
        Wrong: the answer has another status than 200, no text, or an error in its stream.
    """
    asked = body(messages, max_tokens=max_tokens, **options)
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    began, pieces, arrivals, usage = perf_counter(), [], [], {}
    async with http.post("/v1/chat/completions", json=asked, timeout=PATIENCE) as response:
        if response.status != 200:
            raise Wrong(f"{response.status}: {(await response.text())[:300]}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            now, event = perf_counter() - began, json.loads(line[6:])
            if "error" in event:
                raise Wrong(str(event["error"])[:300])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                if content := choice["delta"].get("content"):
                    pieces.append(content)
                    arrivals.append(now)
    if not arrivals:
        raise Wrong("the answer has no text")
    return Answer(
        text="".join(pieces),
        arrivals=tuple(arrivals),
        ended=perf_counter() - began,
        tokens=usage.get("completion_tokens") or len(arrivals),
        prompt=usage.get("prompt_tokens"),
        cached=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
    )
