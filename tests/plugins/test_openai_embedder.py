"""The embedder `openai` gives unit vectors in the order of the texts, whatever the server's encoding."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from openkimi import BackendError, BackendUnavailable, ConfigError, Embedder, UpstreamError
from openkimi.testing import open_component
from openkimi_openai import register_embedders

Reply = Callable[[Any], Any]


def vector(text: str) -> list[float]:
    """Point every text in a direction of its own, not of unit length."""
    return [float(len(text)), float(sum(map(ord, text)) % 97), 3.0]


def floats(payload: Any) -> Any:
    """Answer with lists of numbers, in the reverse order."""
    items = [{"index": at, "embedding": vector(text)} for at, text in enumerate(payload["input"])]
    return {"data": items[::-1], "usage": {"prompt_tokens": 1}}


def encoded(payload: Any) -> Any:
    """Answer with base64 of little-endian float32, without indexes."""
    data = [np.array(vector(text), dtype="<f4").tobytes() for text in payload["input"]]
    return {"data": [{"embedding": base64.b64encode(item).decode()} for item in data]}


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[tuple[str, list[Any]]]:
    payloads: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        payload = await request.json()
        payloads.append(payload)
        await asyncio.sleep(0)
        answer = reply(payload)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    app = web.Application()
    app.router.add_post("/v1/embeddings", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", payloads
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Embedder]:
    (provider,) = register_embedders()
    async with open_component(provider, **{"api_url": url, "model_name": "e", **options}) as embedder:
        yield embedder


def test_kinds() -> None:
    """The kind is `openai`, and `api` is its alias, as for the backend."""
    (provider,) = register_embedders()

    assert (provider.kind, provider.aliases) == ("openai", ("api",))


@pytest.mark.parametrize("reply", [floats, encoded])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
async def test_rows_are_unit_vectors_in_the_order_of_the_texts(reply: Reply, batch_size: int) -> None:
    """Encoding, order of the answer and batches change nothing; empty texts get zeros and are not sent."""
    texts = ["a", "", "北京", "a longer one", " \n", "b"]
    async with serving(reply) as (url, payloads), opened(url, batch_size=batch_size) as embedder:
        rows = await embedder.embed(texts)
        sent = [text for payload in payloads[1:] for text in payload["input"]]

    expected = np.array([vector(text) if text.strip() else [0, 0, 0] for text in texts])
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected / np.where(lengths > 0, lengths, 1), rtol=1e-6)
    assert sorted(sent) == sorted(text for text in texts if text.strip())
    assert all(len(payload["input"]) <= batch_size for payload in payloads)


async def test_dimensions_are_asked_for_once() -> None:
    """Without the option one call at opening finds the length, and no empty list is ever sent."""
    async with serving(floats) as (url, payloads), opened(url) as embedder:
        assert embedder.dimensions == 3
        assert (await embedder.embed([])).shape == (0, 3)
        assert (await embedder.embed([""])).shape == (1, 3)

    assert len(payloads) == 1
    assert "dimensions" not in payloads[0]


async def test_given_dimensions_are_sent_and_checked() -> None:
    """With the option nothing is called at opening, and a vector of another length is an error."""
    async with serving(floats) as (url, payloads):
        async with opened(url, dimensions=3, encoding_format="base64") as embedder:
            assert payloads == []
            await embedder.embed(["x"])
        async with opened(url, dimensions=5) as embedder:
            with pytest.raises(BackendError, match=r"3 numbers, expected 5; check embedder\.dimensions"):
                await embedder.embed(["x"])

    assert payloads[0] == {"model": "e", "input": ["x"], "encoding_format": "base64", "dimensions": 3}


async def test_fingerprint_tells_server_model_and_length() -> None:
    """Vectors of another server, model or length have another fingerprint; the key is not in it."""
    async with serving(floats) as (url, _), opened(url, api_key="sk-1") as embedder:
        host = url.removeprefix("http://").removesuffix("/v1")

        assert embedder.fingerprint == f"openai:{host}:e:3"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": []},
        {"data": [{"embedding": [1.0], "index": 1}]},
        {"data": [{"embedding": "?"}]},
        {"data": [{"embedding": []}]},
        {"data": [{"embedding": "AAAA"}]},
        {"data": [{"embedding": base64.b64encode(np.array([np.nan], dtype="<f4")).decode()}]},
    ],
)
async def test_nonsense_is_an_error(answer: Any) -> None:
    """An answer that is not one vector for each text is refused, never stored."""
    async with serving(lambda _: answer) as (url, _), opened(url, dimensions=1) as embedder:
        with pytest.raises(BackendError, match="no list of 1 embeddings"):
            await embedder.embed(["x"])


async def test_one_failing_batch_fails_the_call_plainly() -> None:
    """Of several batches at once, the error of the one that fails is raised, and not in a group."""

    def reply(payload: Any) -> Any:
        if payload["input"] == ["bad"]:
            return web.json_response({"error": {"message": "too long"}}, status=400)
        return floats(payload)

    async with serving(reply) as (url, _), opened(url, batch_size=1) as embedder:
        with pytest.raises(UpstreamError, match="too long"):
            await embedder.embed(["good", "bad", "fine"])


async def test_errors_name_the_section() -> None:
    """A server that is not there is an error at opening, naming the embedder's setting."""
    async with serving(floats) as (url, _):
        pass

    with pytest.raises(BackendUnavailable, match=r"cannot reach 127.0.0.1:\d+ \(embedder\.api_url\)"):
        async with opened(url, retries=0):
            pass
    with pytest.raises(ConfigError, match="api_url"):
        async with opened("nowhere"):
            pass
