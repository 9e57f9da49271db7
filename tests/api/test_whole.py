"""Long work over HTTP: progress as comments, and the mode that reads everything."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from openkimi import Chunk, Document, report_progress
from openkimi.documents import ANONYMOUS
from openkimi.testing import InMemoryRetriever

QUESTION = "How many displaced persons still remained in the United States zone of Germany?"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store documents in ten steps with a moment between them."""
    add = InMemoryRetriever.add

    async def slow_add(
        self: InMemoryRetriever,
        document: Document,
        chunks: Sequence[Chunk],
        *,
        fingerprint: str,
        tenant: str = ANONYMOUS,
    ) -> None:
        for done in range(10):
            report_progress(done * len(chunks) // 10, len(chunks))
            await asyncio.sleep(0.03)
        await add(self, document, chunks, fingerprint=fingerprint, tenant=tenant)

    monkeypatch.setattr(InMemoryRetriever, "add", slow_add)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.02)
    monkeypatch.setattr("openkimi.api.sse.KEEP_ALIVE_SECONDS", 0.02)
    monkeypatch.setattr("openkimi.progress._OFTEN_SECONDS", 0.0)


def about(text: str, question: str = QUESTION, **options: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": question}]
    return {"messages": messages, **({"openkimi": options} if options else {})}


def comments(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(":")]


@pytest.mark.usefixtures("soon", "slow")
async def test_storing_a_long_text_shows_in_comments(gateway: Any, speech: str) -> None:
    """A stream says how far the work is; what follows is the answer as ever."""
    async with gateway(context_length=4096) as server:
        lines = await server.lines(about(speech))

    told = comments(lines)
    assert any(line.startswith(": openkimi storing ") and line.endswith("/283 passages") for line in told)
    assert all("\n" not in line for line in told)
    assert lines[-1] == "data: [DONE]"
    assert all('"choices":[{' in line for line in lines[:-1] if line.startswith("data:"))


async def test_a_fast_answer_has_no_comments(gateway: Any, speech: str) -> None:
    """Work of less than a second is not worth a word."""
    async with gateway(context_length=4096) as server:
        assert comments(await server.lines(about(speech))) == []


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("address", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
async def test_every_kind_of_stream_tells_of_a_reading(gateway: Any, speech: str, address: str) -> None:
    """Comments tell parts, tokens and calls; the answer comes after, with one receipt of the whole."""
    body: dict[str, Any] = {"openkimi": {"mode": "exhaustive"}, "stream": True}
    if address.endswith("chat/completions"):
        body |= about(speech, mode="exhaustive")
    elif address.endswith("responses"):
        body |= {"input": f"{speech}\n\n{QUESTION}", "model": "any"}
    else:
        body |= {"prompt": f"{speech}\n\n{QUESTION}"}
    async with (
        gateway(context_length=8192, delay=0.05) as server,
        server.http.post(address, json=body) as response,
    ):
        lines = (await response.text()).removesuffix("\n\n").split("\n\n")

    told = comments(lines)
    assert any("openkimi reading 0/16 parts of the text, about 6" in line for line in told)
    assert any("openkimi reading 15/16 parts" in line for line in told)
    assert any("at most 19 calls of the model" in line for line in told)
    assert sum('"mode":"exhaustive"' in line for line in lines) == 1


async def test_a_whole_answer_counts_what_the_reading_cost(gateway: Any, speech: str) -> None:
    """Usage is that of all calls; the receipt says how they came about."""
    async with gateway(context_length=8192) as server:
        status, body = await server.chat(about(speech, mode="exhaustive"))

    receipt = body["openkimi"]
    assert status == 200
    assert receipt["mode"] == "exhaustive"
    assert body["usage"]["prompt_tokens"] > receipt["read_tokens"] * 0.95 > 50_000
    assert len(server.backend.requests) <= receipt["calls"]


async def test_the_mode_used_is_in_the_receipt(gateway: Any, speech: str) -> None:
    """A client sees what its question was taken for."""
    async with gateway(context_length=4096) as server:
        _, summary = await server.chat(about(speech, "What is this speech about?"))
        _, passages = await server.chat(about(speech, "What is this speech about?", mode="passages"))
        _, unchanged = await server.chat(about("Be brief.", "What is this speech about?"))

    assert summary["openkimi"]["mode"] == "summary"
    assert passages["openkimi"]["mode"] == "passages"
    assert unchanged["openkimi"]["mode"] is None


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"openkimi": {"mode": "all"}}, "openkimi.mode"),
        ({"openkimi": {"mode": "exhaustive", "max_calls": 0}}, "openkimi.max_calls"),
        ({"openkimi": {"mode": "exhaustive", "max_calls": 3}}, "openkimi.mode"),
        ({"openkimi": {"mode": "exhaustive"}, "n": 2}, "n"),
        ({"openkimi": {"mode": "exhaustive", "mpr": {"candidates": 2}}}, "openkimi.mpr"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_cannot_be_read_is_a_400(
    gateway: Any, speech: str, change: dict[str, Any], param: str, stream: bool
) -> None:
    """Before any call of the model, with the field at fault."""
    async with gateway() as server:
        status, body = await server.chat({**about(speech), **change, "stream": stream})

    assert (status, body["error"]["param"]) == (400, param)
    assert server.backend.requests == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_leaving_ends_a_reading(gateway: Any, speech: str, stream: bool) -> None:
    """The calls that run stop at once, and no more are made."""
    async with gateway(context_length=8192, token_delay=0.005, concurrency=1) as server:
        body = {**about(speech, mode="exhaustive"), "stream": stream}
        request = asyncio.create_task(server.chat(body))
        async with asyncio.timeout(10):
            while server.backend.finished < 2:
                await asyncio.sleep(0.01)
        request.cancel()
        async with asyncio.timeout(2):
            while not server.backend.cancelled:
                await asyncio.sleep(0.01)
        asked = len(server.backend.requests)
        await asyncio.sleep(0.1)

        assert len(server.backend.requests) == asked < 16


async def test_the_deadline_holds_for_a_reading(gateway: Any, speech: str) -> None:
    """A reading that takes too long is a 504: sent again it would take as long."""
    async with gateway({"request_timeout": 0.5}, context_length=8192, delay=0.2, concurrency=1) as server:
        started = time.monotonic()
        status, body = await server.chat(about(speech, mode="exhaustive"))

    assert (status, body["error"]["code"]) == (504, "backend_timeout")
    assert time.monotonic() - started < 3


async def test_others_are_answered_while_a_text_is_read(gateway: Any, speech: str) -> None:
    """A reading waits in line call by call, so nobody waits for all of it."""
    async with gateway(context_length=8192, delay=0.05, concurrency=1) as server:
        reading = asyncio.create_task(server.chat(about(speech, mode="exhaustive")))
        while not server.backend.finished:
            await asyncio.sleep(0.01)
        status, _ = await server.chat({"messages": [{"role": "user", "content": "Hello?"}]})

        assert (status, reading.done()) == (200, False)
        assert (await reading)[0] == 200


async def test_who_leaves_a_reading_is_charged_for_what_was_read(gateway: Any, speech: str) -> None:
    """Tokens of the parts that were read count against the limit of a minute."""
    limit = {"rate_limit": {"tokens_per_minute": 10_000}}
    async with gateway(limit, context_length=8192, token_delay=0.005, concurrency=1) as server:
        request = asyncio.create_task(server.chat(about(speech, mode="exhaustive")))
        while server.backend.finished < 3:
            await asyncio.sleep(0.01)
        request.cancel()
        await asyncio.sleep(0.3)
        status, _ = await server.chat({"messages": [{"role": "user", "content": "Hello?"}]})

    assert status == 429
