"""Request bodies: which are read, which are refused, and how the reading is bounded."""

import asyncio
import gzip
import json
import socket
import zlib
from typing import Any

import pytest

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
BODY = json.dumps(HELLO).encode()
KEYS = {"message", "type", "param", "code"}


async def post(server: Any, data: bytes, **headers: str) -> tuple[int, Any, Any]:
    """Send a body with exactly these headers, ``Content-Type`` only if it is among them."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.http.post(
        "/v1/chat/completions", data=data, headers=names, skip_auto_headers=["Content-Type"]
    ) as response:
        return response.status, await response.json(), response.headers


async def raw(server: Any, data: bytes) -> bytes:
    """Send bytes as they are and read until the server closes the connection."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/vnd.api+json",
        "text/json",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    ],
)
async def test_json_is_read_under_the_names_that_clients_give_it(gateway: Any, kind: str | None) -> None:
    """Also without a name, and under the one that curl -d sends."""
    headers = {"Content_Type": kind} if kind else {}
    async with gateway(reply="Yes.") as server:
        status, _, _ = await post(server, BODY, **headers)

    assert status == 200


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=x",
        "application/xml",
        "image/png",
        "application/json; charset=utf-16",
        "text/plain; charset=latin-1",
    ],
)
async def test_another_type_is_refused(gateway: Any, kind: str) -> None:
    """415 says what to send."""
    async with gateway() as server:
        status, body, _ = await post(server, BODY, Content_Type=kind)

    assert (status, body["error"]["code"]) == (415, "unsupported_media_type")
    assert "application/json" in body["error"]["message"]
    assert set(body["error"]) == KEYS


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        (None, 415),
    ],
)
async def test_a_page_in_a_browser_has_to_name_json(gateway: Any, kind: str | None, status: int) -> None:
    """A browser sends the other types anywhere without asking first, so with Origin they are refused."""
    headers = {"Content_Type": kind} if kind else {}
    async with gateway(reply="Yes.") as server:
        got, _, _ = await post(server, BODY, Origin="https://elsewhere.example", **headers)

    assert got == status


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("identity", BODY),
    ],
)
async def test_compressed_bodies_are_read(gateway: Any, encoding: str, data: bytes) -> None:
    """gzip and deflate, as Content-Encoding says."""
    async with gateway(reply="Yes.") as server:
        status, _, _ = await post(server, data, Content_Encoding=encoding)

    assert status == 200


@pytest.mark.parametrize(
    ("encoding", "data", "status"),
    [
        ("br", BODY, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415),
        ("gzip", BODY, 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(BODY)[:-9], 400),
        ("gzip", gzip.compress(BODY) + b"more", 400),
        ("deflate", b"\x00\x01\x02", 400),
    ],
)
async def test_a_body_that_is_compressed_otherwise_is_refused(
    gateway: Any, encoding: str, data: bytes, status: int
) -> None:
    """Unknown codings with 415 and the names of those that are read, damaged data with 400."""
    async with gateway() as server:
        got, body, headers = await post(server, data, Content_Encoding=encoding)

    assert got == status
    assert set(body["error"]) == KEYS
    assert headers.get("Accept-Encoding") == ("gzip, deflate" if status == 415 else None)


async def test_a_bomb_is_inflated_no_further_than_the_limit(gateway: Any) -> None:
    """A small body that would grow beyond server.max_body_size is a 413."""
    bomb = gzip.compress(b" " * 50_000_000)
    async with gateway(server={"max_body_size": "1MB"}) as server:
        status, body, _ = await post(server, bomb, Content_Encoding="gzip")

    assert len(bomb) < 1_000_000
    assert (status, body["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b'"cut \\ud83d"', "cut \ufffd"),
        (b'"\\ud83d and \\ude00"', "\ufffd and \ufffd"),
        (b'"\\ud83d\\ud83d\\ude00"', "\ufffd\U0001f600"),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\u0000 nul"', "\x00 nul"),
    ],
)
async def test_texts_arrive_as_they_were_written(gateway: Any, text: bytes, content: str) -> None:
    """Halves of surrogate pairs, which a client leaves where it cuts an emoji, become U+FFFD."""
    data = b'{"messages": [{"role": "user", "content": %b}]}' % text
    async with gateway(reply="Yes.") as server:
        status, body, _ = await post(server, data)

        assert status == 200, body
        assert server.backend.requests[-1].messages[0].content == content


async def test_a_byte_order_mark_is_skipped(gateway: Any) -> None:
    """Windows tools put one before UTF-8."""
    async with gateway(reply="Yes.") as server:
        status, _, _ = await post(server, b"\xef\xbb\xbf" + BODY)

    assert status == 200


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a body and then nothing: 408, the connection is closed, and others are served."""
    monkeypatch.setattr("openkimi.api.body.READ_SECONDS", 0.1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    async with gateway(reply="Yes.") as server:
        answer = await raw(server, head + BODY[:20])
        status, _ = await server.chat(HELLO)

    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in top.lower()
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert status == 200


async def test_a_slow_body_is_read_while_it_comes(gateway: Any) -> None:
    """Byte by byte is no error."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    async with gateway(reply="Yes.") as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head % len(BODY) + BODY:
            writer.write(bytes([byte]))
            await writer.drain()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 200")


async def test_requests_on_one_connection_are_answered_in_order(gateway: Any) -> None:
    """Several sent at once, streams, errors and plain answers mixed."""
    bodies = [
        {**HELLO, "seed": 1},
        {**HELLO, "n": 0},
        {**HELLO, "seed": 2, "stream": True},
        {"messages": 5},
        {**HELLO, "seed": 3},
    ]
    sent = b""
    for number, body in enumerate(map(json.dumps, bodies)):
        close = "Connection: close\r\n" if number == len(bodies) - 1 else ""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{close}X-Request-Id: r{number}\r\n"
        sent += f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    async with gateway() as server:
        answer = (await raw(server, sent)).decode()

    heads = [part.split("\r\n\r\n")[0] for part in answer.split("HTTP/1.1 ")[1:]]
    assert [int(head.split(" ")[0]) for head in heads] == [200, 400, 200, 400, 200]
    ids = [line.split(": ")[1] for head in heads for line in head.split("\r\n") if "x-request-id" in line]
    assert ids == [f"r{number}" for number in range(len(bodies))]
