"""A client that leaves frees what it held, in a stream and out of one."""

import asyncio
import json
from typing import Any

import pytest
import structlog

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_leaving_ends_the_work(gateway: Any, stream: bool) -> None:
    """The backend's generator is closed soon after the client has gone."""
    async with gateway(reply="word " * 4000, token_delay=0.01) as server:
        request = asyncio.create_task(server.chat({**HELLO, "stream": stream}))
        await until(lambda: server.backend.active == 1)
        request.cancel()
        await until(lambda: server.backend.active == 0)

        assert server.backend.cancelled == 1


async def test_leaving_is_logged_as_such(gateway: Any) -> None:
    """An operator can tell it from a request that was wrong."""
    async with gateway(reply="word " * 4000, token_delay=0.01) as server:
        with structlog.testing.capture_logs() as logged:
            request = asyncio.create_task(server.chat(HELLO))
            await until(lambda: server.backend.active == 1)
            request.cancel()
            await until(lambda: any(entry["event"] == "request" for entry in logged))

    [refused] = [entry for entry in logged if entry["event"] == "request_refused"]
    assert (refused["status"], refused["code"]) == (499, "client_left")


async def test_leaving_in_the_middle_of_reading_ends_the_work(gateway: Any) -> None:
    """A client that has read some events and closes its connection frees the model."""
    async with gateway(reply="word " * 4000, token_delay=0.005) as server:
        async with server.http.post("/v1/chat/completions", json={**HELLO, "stream": True}) as response:
            await response.content.readuntil(b"word")
            response.close()
        await until(lambda: server.backend.active == 0)

        assert server.backend.cancelled == 1


async def test_a_client_that_stops_reading_and_leaves_ends_the_work(gateway: Any) -> None:
    """Also while the server waits to send: the write buffer is full and nobody reads."""
    reply = "word " * 200_000
    async with gateway(reply=reply, chunk_size=4000, context_length=10_000_000) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({**HELLO, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.readuntil(b"word")
        await asyncio.sleep(0.3)
        writer.transport.abort()
        await until(lambda: server.backend.active == 0)

        status, _ = await server.chat({**HELLO, "max_tokens": 3})
        assert status == 200


async def test_many_who_leave_cost_nothing(gateway: Any) -> None:
    """After a hundred clients that left, the next one is answered and nothing still runs."""
    async with gateway(reply="word " * 4000, token_delay=0.01) as server:
        before = len(asyncio.all_tasks())
        requests = [
            asyncio.create_task(server.chat({**HELLO, "stream": number % 2 == 0})) for number in range(100)
        ]
        await until(lambda: server.backend.active > 50)
        for request in requests:
            request.cancel()
        await asyncio.wait(requests)
        await until(lambda: server.backend.active == 0)
        status, _ = await server.chat({**HELLO, "max_tokens": 3})
        await until(lambda: len(asyncio.all_tasks()) <= before + 4)

    assert status == 200


async def test_silence_is_filled_with_comments(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the model is silent, comments keep the connection, each a write of its own."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.05)
    monkeypatch.setattr("openkimi.api.sse.KEEP_ALIVE_SECONDS", 0.05)
    async with gateway(reply="Yes.", delay=0.4) as server:
        events = await server.lines(HELLO)

    comments = [event for event in events if event.startswith(":")]
    assert comments
    assert events[-1] == "data: [DONE]"
