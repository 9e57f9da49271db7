"""A fake OpenAI-compatible server that costs next to nothing: every answer is bytes made beforehand.

    .venv/bin/python benchmarks/fake_upstream.py

Prints its base address and serves until it is stopped. A streamed answer has 16 tokens, each a write of its
own as from a real model; an answer that is not streamed is one JSON object with the same text.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

import uvloop

TOKENS = ["First", *(f" word{number}" for number in range(14)), " last."]
_USAGE = {"prompt_tokens": 9, "completion_tokens": len(TOKENS), "total_tokens": 9 + len(TOKENS)}
_SHARED = {"id": "chatcmpl-fake", "created": 1_700_000_000, "model": "fake"}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(TOKENS)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = json.dumps({**_SHARED, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


def _event(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _event(json.dumps({**_SHARED, "object": "chat.completion.chunk", "choices": [choice]}))


def _streamed() -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    usage = json.dumps({**_SHARED, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE})
    end = _chunk({}, "stop") + _event(usage) + _event("[DONE]") + b"0\r\n\r\n"
    first = head + _chunk({"role": "assistant", "content": ""})
    return [first, *(_chunk({"content": token}) for token in TOKENS), end]


WHOLE, STREAMED = _whole(), _streamed()


class Upstream(asyncio.Protocol):
    """Answers the requests of one connection, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        _, named, after = head.lower().partition(b"content-length:")
        if len(body) < (int(after.split(b"\r\n", 1)[0]) if named else 0):
            return
        self._buffer = b""
        if b'"stream":true' in body.replace(b'"stream": true', b'"stream":true'):
            self._send(0)
        else:
            self._transport.write(WHOLE)

    def _send(self, at: int) -> None:
        self._transport.write(STREAMED[at])
        if at + 1 < len(STREAMED):
            self._loop.call_soon(self._send, at + 1)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
