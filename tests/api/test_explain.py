"""POST /v1/openkimi/explain: the trace of a chat completion, without the model."""

from typing import Any

import msgspec
import pytest

NAMED = [{"name": "alice", "key": "sk-alice"}, {"name": "bob", "key": "sk-bob"}]
QUESTION = "How many displaced persons still remained in the United States zone of Germany?"


def chat(text: str, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": QUESTION}]
    return {"messages": messages, **changes}


async def explain(server: Any, body: Any, **options: Any) -> tuple[int, Any]:
    async with server.http.post("/v1/openkimi/explain", json=body, **options) as response:
        return response.status, await response.json()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{key}"}


async def test_the_messages_are_those_that_the_backend_gets(gateway: Any, speech: str) -> None:
    """To the byte, with the tools and images of the request in place, and the same receipt."""
    body = chat(speech, max_tokens=60, model="any-name", stream=True, n=2)
    body["messages"][1]["content"] = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": "data:,"}},
    ]
    async with gateway(context_length=4096) as server:
        status, told = await explain(server, body)
        assert server.backend.requests == []
        _, answer = await server.chat({**body, "stream": False, "n": 1})
        [sent] = server.backend.requests

    assert status == 200, told
    assert (told["object"], told["model"], told["compressed"]) == ("openkimi.explanation", "any-name", True)
    [path] = told["paths"]
    system, user = path["messages"]
    assert (system["role"], system["content"]) == ("system", sent.messages[0].content)
    assert user["content"] == msgspec.to_builtins(
        [
            {"type": "text", "text": sent.messages[1].content[0].text},
            {"type": "image_url", "image_url": {"url": "data:,", "detail": None}},
        ]
    )
    assert path["max_tokens"] == sent.max_tokens == 60
    assert path["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    left_out = {"citations": [], "unsupported": []}
    assert told["receipt"] == {**answer["openkimi"], **left_out}


async def test_each_path_has_a_prompt(gateway: Any, speech: str) -> None:
    """Several paths are told apart, and each hit has a fate on each."""
    body = chat(speech, openkimi={"mpr": {"candidates": 3}, "limit": 5})
    async with gateway(context_length=4096, parameters=135_000_000) as server:
        status, told = await explain(server, body)

    assert status == 200, told
    assert len(told["paths"]) == 3
    assert all(len(hit["fates"]) == 3 for hit in told["hits"])
    assert [hit["rank"] for hit in told["hits"] if hit["rank"]][:5] == [1, 2, 3, 4, 5]


async def test_a_request_that_fits_is_explained_too(gateway: Any) -> None:
    """Its messages are shown as they came, with the reason why nothing was done to them."""
    async with gateway() as server:
        status, told = await explain(server, chat("Be brief."))

    assert status == 200
    assert told["compressed"] is False
    assert "unchanged" in told["reason"]
    assert [message["content"] for message in told["paths"][0]["messages"]] == ["Be brief.", QUESTION]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "messages"),
        (chat("Hi.", temperature=3), 400, "temperature"),
        (chat("Hi.", openkimi={"limit": 5000}), 400, "openkimi.limit"),
        (chat("Hi.", openkimi={"documents": ["doc_x"]}), 404, "openkimi.documents"),
        (chat("Hi.", top_logprobs=3), 400, "top_logprobs"),
    ],
)
async def test_errors_are_those_of_a_chat_completion(
    gateway: Any, body: Any, status: int, param: str
) -> None:
    """Status, type and parameter are what the chat would have answered."""
    async with gateway() as server:
        got, told = await explain(server, body)

    assert (got, told["error"]["param"]) == (status, param)


async def test_a_tenant_is_told_of_its_own_documents_only(gateway: Any, speech: str) -> None:
    """A key is needed, what one explains is remembered for it, and another's document is a 404."""
    async with gateway({"api_keys": NAMED}, context_length=4096) as server:
        nobody, _ = await explain(server, chat(speech))
        _, told = await explain(server, chat(speech), headers=bearer("alice"))
        named = chat("Be brief.", openkimi={"documents": [told["documents"][0]["id"]]})
        own, found = await explain(server, named, headers=bearer("alice"))
        foreign, error = await explain(server, named, headers=bearer("bob"))

    assert nobody == 401
    assert (own, foreign, error["error"]["code"]) == (200, 404, "document_not_found")
    assert found["documents"][0]["message"] is None
    assert found["documents"][0]["characters"] == told["documents"][0]["characters"]
    assert {hit["message"] for hit in found["hits"]} == {None}


async def test_it_counts_as_a_request_without_tokens(gateway: Any) -> None:
    """Of a caller's limits it draws one request and no token."""
    limit = {"requests_per_minute": 2, "tokens_per_minute": 1000}
    async with gateway({"rate_limit": limit}) as server:
        for _ in range(2):
            async with server.http.post("/v1/openkimi/explain", json=chat("Hi.")) as response:
                assert response.status == 200
                assert response.headers["x-ratelimit-remaining-tokens"] == "1000"
        status, told = await explain(server, chat("Hi."))

    assert (status, told["error"]["code"]) == (429, "rate_limit_exceeded")
