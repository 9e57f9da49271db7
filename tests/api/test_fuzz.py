"""Whatever arrives, the gateway answers with a status that is not its fault, and nothing is left behind."""

import asyncio
import copy
import gzip
import io
import json
import logging
import random
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
RICH: dict[str, Any] = {
    "model": "some-model",
    "messages": [
        {"role": "system", "content": "The lighthouse belongs to Ada Quill."},
        {"role": "user", "name": "Bo", "content": [{"type": "text", "text": "Whose is it? \U0001f44d"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Ada's"},
        {"role": "user", "content": "Sure?"},
    ],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 20,
    "max_completion_tokens": 20,
    "n": 2,
    "stop": ["END", "\n\n"],
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logit_bias": {"15": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "functions": [{"name": "look"}],
    "function_call": "auto",
    "parallel_tool_calls": True,
    "stream": True,
    "stream_options": {"include_usage": True},
    "modalities": ["text"],
    "user": "me",
    "metadata": {"a": "b"},
    "openkimi": {"documents": [], "mpr": {"candidates": 2}},
}
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 5e-324),
    *("", " ", "\x00", "auto", "text", "x" * 5000, "\ud800", "\U0001f44d", "[]", "NaN", "-1", "{}"),
    *([], [[]], [None], [{}], ["x"] * 50, {}, {"": {}}, {"type": "text"}, {"type": "function"}),
]
OTHERS: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "model": "some-model",
        "prompt": ["The lighthouse", "belongs"],
        "suffix": None,
        "echo": False,
        "logprobs": 2,
        "best_of": 1,
        "n": 1,
        "max_tokens": 8,
        "stop": ["END"],
        "logit_bias": {"15": 1},
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "/v1/embeddings": {
        "model": "some-model",
        "input": ["Hello", "again"],
        "encoding_format": "base64",
        "dimensions": 8,
        "user": "me",
    },
    "/v1/responses": {
        "model": "some-model",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Whose is it?"}]},
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "Ada's"},
        ],
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "store": False,
        "truncation": "auto",
        "stream": True,
    },
    "/v1/tokenize": {"model": "some-model", "messages": RICH["messages"], "tools": RICH["tools"]},
}
ALLOWED = {200, 400, 404, 413, 415}
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


@asynccontextmanager
async def unharmed(gateway: Any, caplog: pytest.LogCaptureFixture, **options: Any) -> AsyncIterator[Any]:
    """Yield a gateway that afterwards has to answer as before, with no work, task or logged error left."""
    async with gateway(reply="Yes.", **options) as server:
        assert (await server.chat(HELLO))[0] == 200
        before = len(asyncio.all_tasks())
        yield server
        async with asyncio.timeout(20):
            while server.backend.active or len(asyncio.all_tasks()) > before + 1:
                await asyncio.sleep(0.02)
        status, body = await server.chat(HELLO)
        assert (status, body["choices"][0]["message"]["content"]) == (200, "Yes.")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def check(
    server: Any, data: bytes, slots: asyncio.Semaphore, path: str = "/v1/chat/completions", **more: str
) -> int:
    """Send a body and check that status and body of the answer fit each other."""
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): more[name] for name in more}}
    async with slots, asyncio.timeout(20):
        async with server.http.post(path, data=io.BytesIO(data), headers=headers) as response:
            text = (await response.read()).decode()
    assert response.status in ALLOWED, (response.status, data[:500], text[:500])
    if response.status != 200:
        assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
    elif response.content_type == "text/event-stream":
        assert text.endswith(("data: [DONE]\n\n", "}\n\n"))
    else:
        assert json.loads(text)
    return int(response.status)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place inside a JSON value, as a container and a key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


def mutated(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Change one or two places: replaced by junk, removed, doubled or exchanged with another place."""
    body = copy.deepcopy(body)
    for _ in range(chance.randint(1, 2)):
        container, key = chance.choice(list(places(body)) or [(body, "messages")])
        kind = chance.randrange(4)
        if kind == 0 and key in container:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif kind == 2:
            other, name = chance.choice(list(places(body)) or [(body, "messages")])
            container[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
        else:
            container[key] = copy.deepcopy(chance.choice(JUNK))
    return body


def scrambled(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes: flipped, removed, doubled, cut off or filled in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(changed) or 1)
        kind = chance.randrange(5)
        if kind == 0:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del changed[at : at + chance.randint(1, 9)]
        elif kind == 2:
            changed[at:at] = chance.choice(
                [b'"', b"\\", b"{", b"]", b",", b"\xff", b"\x00", b"1e999", b"\\u"]
            )
        elif kind == 3:
            changed[at:at] = changed[at : at + 20]
        elif chance.random() < 0.2:
            del changed[at:]
    return bytes(changed)


async def test_mutations_of_a_body_do_no_harm(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Every field replaced, removed and doubled at random: answered or refused."""
    chance, slots = random.Random(3), asyncio.Semaphore(16)
    bodies = [mutated(RICH, chance) for _ in range(600)]
    async with unharmed(gateway, caplog) as server:
        assert await check(server, json.dumps(RICH).encode(), slots) == 200
        statuses = await asyncio.gather(*(check(server, json.dumps(body).encode(), slots) for body in bodies))

    assert {200, 400} <= set(statuses)


@pytest.mark.parametrize("path", OTHERS)
async def test_mutations_of_other_bodies_do_no_harm(
    gateway: Any, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """The same for the other endpoints that read a body."""
    chance, slots = random.Random(5), asyncio.Semaphore(16)
    bodies = [mutated(OTHERS[path], chance) for _ in range(200)]
    async with unharmed(gateway, caplog) as server:
        assert await check(server, json.dumps(OTHERS[path]).encode(), slots, path) == 200
        await asyncio.gather(*(check(server, json.dumps(body).encode(), slots, path) for body in bodies))
        await asyncio.gather(*(check(server, data, slots, path) for data in awkward()))


async def test_scrambled_bytes_do_no_harm(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes changed at random, in JSON and in compressed JSON."""
    chance, slots = random.Random(4), asyncio.Semaphore(16)
    data = json.dumps(RICH, ensure_ascii=False).encode()
    async with unharmed(gateway, caplog) as server:
        await asyncio.gather(*(check(server, scrambled(data, chance), slots) for _ in range(400)))
        await asyncio.gather(
            *(
                check(server, scrambled(gzip.compress(data), chance), slots, Content_Encoding="gzip")
                for _ in range(100)
            )
        )


def awkward() -> Iterator[bytes]:
    hello = json.dumps(HELLO).encode()
    inner = hello[1:-1]
    yield from (b"", b" ", b"\n\n", b"null", b"true", b"0", b'"x"', b"[]", b"{}", b"[" * 100_000, b"{" * 50)
    yield from (b"\xef\xbb\xbf", b"\xff\xfe" + hello, hello.decode().encode("utf-16"), b"\x00" * 1000)
    yield from (hello[:at] for at in range(0, len(hello), 5))
    yield from (hello + tail for tail in (b" x", b"}", hello, b"\x00", b"//", b","))
    yield from (hello.replace(b"Hello?", text) for text in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5"))
    yield from (hello.replace(b"Hello?", text) for text in (b"\\x", b"\\u12", b"\\ud800", b"\n", b"\x00"))
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"9" * 9000, b"0x1"):
        yield from (b'{%b,"%b":%b}' % (inner, name, number) for name in (b"seed", b"temperature", b"n", b"x"))
    for depth in (500, 5000, 200_000):
        for name in (b"x", b"metadata", b"stop", b"messages"):
            yield b'{%b,"%b":%b}' % (inner, name, b"[" * depth + b"]" * depth)
            yield b'{%b,"%b":%b1%b}' % (inner, name, b'{"a":' * depth, b"}" * depth)
        tool = b'{"type":"function","function":{"name":"a","parameters":{"a":%b%b}}}'
        yield b'{%b,"tools":[%b]}' % (inner, tool % (b"[" * depth, b"]" * depth))
    yield b"{%b,%b,%b}" % (inner, inner, b",".join([b'"n":1'] * 5000))
    yield b"{%b,%b}" % (inner, b",".join(b'"k%d":1' % at for at in range(20_000)))
    yield b'{%b,"%b":1}' % (inner, b"k" * 1_000_000)
    yield b'{%b,"logit_bias":{%b}}' % (inner, b",".join(b'"%d":1' % at for at in range(20_000)))
    yield b'{%b,"stop":[%b]}' % (inner, b",".join([b'"x"'] * 50_000))
    yield b'{"messages":[%b]}' % b",".join([b"{}"] * 50_000)
    yield b"{'messages': []}"


async def test_bodies_that_are_awkward_on_purpose_do_no_harm(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad UTF-8, deep nesting, huge numbers, doubled keys, other encodings, cut short."""
    slots = asyncio.Semaphore(16)
    async with unharmed(gateway, caplog) as server:
        await asyncio.gather(*(check(server, data, slots) for data in awkward()))


async def test_texts_like_templates_and_escapes_do_no_harm(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Content is content, also in names, ids, stop sequences and schemas."""
    texts = [
        "{{ 7*7 }}",
        "{% raise %}",
        "%s%n",
        "{0}",
        "\x1b[2J",
        "\r\nX: y",
        "$(id)",
        "' OR 1=1 --",
        "\u202e",
    ]
    slots = asyncio.Semaphore(16)
    async with unharmed(gateway, caplog) as server:
        for text in texts:
            body = (
                json.dumps(RICH)
                .replace("look", json.dumps(text)[1:-1])
                .replace("END", json.dumps(text)[1:-1])
            )
            assert await check(server, body.encode(), slots) == 200


async def exchange(server: Any, sent: bytes, *, half: bool = False) -> bytes:
    """Send bytes over a connection of their own and return what comes back until it ends."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    try:
        if half:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def heads() -> Iterator[bytes]:
    """Yield requests whose head is odd; each asks for the connection to be closed."""
    body = json.dumps(HELLO).encode()
    rest = b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    odd = [
        b"Content-Type: \r\n",
        b"Content-Type: ;;;=\r\n",
        b"Content-Type: application/json; charset=\xff\xfe\r\n",
        b"Content-Type: application/json; charset*=x''%%ff\r\n",
        b"Content-Type: application/json\r\nContent-Type: text/html\r\n",
        b"Content-Type: %b\r\n" % (b"a/" * 5000),
        b"Content-Encoding: \r\n",
        b"Content-Encoding: ,,,\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Accept: \xff\r\n",
        b"Accept: nothing/known;q=x\r\n",
        b"Accept-Encoding: ;q=\r\n",
        b"Cookie: =;=;a=\xff;$Version\r\n",
        b"Authorization: \xff\xfe\r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer %b\r\n" % (b"k" * 20_000),
        b"X-Api-Key: \r\n",
        b"X-Request-Id: a\tb\r\n",
        b"X-Request-Id: %b\r\n" % (b"r" * 5000),
        b"X-Forwarded-For: not, an, address\r\n",
        b"Forwarded: for=\xff\r\n",
        b"Origin: null\r\n",
        b"Range: bytes=9-1\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        b"Upgrade: h2c\r\n",
        b"X:\r\n" * 90,
    ]
    yield from (CHAT + line + rest for line in odd)
    yield from (
        CHAT + b"Content-Length: %b\r\nConnection: close\r\n\r\n{}" % size for size in (b"-1", b"x", b"2 ")
    )
    yield CHAT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"
    yield CHAT + b"Content-Length: 99999999999999999999999999\r\n\r\n{}"
    yield CHAT + b"Content-Length: 99999999999\r\nConnection: close\r\n\r\n{}"
    chunked = CHAT + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    yield from (
        chunked + end for end in (b"zz\r\n", b"-1\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"0\r\n\r\n", b"F" * 30)
    )
    for target in (
        b"/v1/models/%00",
        b"/v1/models/%ff%fe",
        b"/v1/models/..%2f..",
        b"//v1//models",
        b"/v1/models/",
    ):
        yield b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target
    for target in (
        b"/%",
        b"/\xff",
        b"http://other/v1/models",
        b"*",
        b"/?\x00",
        b"/" + b"a" * 60_000,
        b"/v1/%0d%0aX:y",
    ):
        yield b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target
    for method in (b"FOO", b"TRACE", b"CONNECT", b"PRI", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"get"):
        yield b"%b /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % method
    yield from (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"x" * 70_000,
    )
    yield b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_odd_heads_do_no_harm(
    gateway: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods, targets and headers as nobody should send them: a status below 500 or a closed connection."""
    monkeypatch.setattr("openkimi.api.body.READ_SECONDS", 0.3)
    sent = list(heads())
    async with unharmed(gateway, caplog) as server:
        answers = await asyncio.gather(*(exchange(server, head, half=True) for head in sent))

    for head, answer in zip(sent, answers, strict=True):
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
        assert 0 <= status < 500, (head[:200], answer[:300])


async def test_those_who_stop_in_the_middle_do_no_harm(
    gateway: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests cut at every point, then silence, an end or a reset, while others are served."""
    monkeypatch.setattr("openkimi.api.body.READ_SECONDS", 0.3)
    body = json.dumps({**HELLO, "stream": True}).encode()
    whole = CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    async def stop(server: Any, at: int) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(whole[:at])
        await asyncio.sleep(0.05 * (at % 4))
        if at % 3 == 0:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(1, 13, linger)
        elif at % 3 == 1:
            writer.write_eof()
            await asyncio.sleep(0.5)
        writer.transport.abort()

    async with unharmed(gateway, caplog, token_delay=0.05) as server:
        stopping = [asyncio.create_task(stop(server, at)) for at in range(0, len(whole) + 1, 2)]
        statuses = [status for status, _ in await asyncio.gather(*(server.chat(HELLO) for _ in range(20)))]
        await asyncio.gather(*stopping)

    assert set(statuses) == {200}
