"""Token counts of texts and of messages."""

from typing import Any

import pytest

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital?"}]
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


async def post(server: Any, body: Any) -> tuple[int, Any]:
    async with server.http.post("/v1/tokenize", json=body) as response:
        return response.status, await response.json()


async def test_each_text_is_counted_by_itself(gateway: Any) -> None:
    """Counts come in the order of the texts, with their sum and the model's window."""
    texts = ["Hello, world", "", "你好 😀", "a"]
    async with gateway(context_length=1000) as server:
        counts = await server.backend.count_tokens(texts)
        status, body = await post(server, {"model": "any-name", "input": texts})

    assert status == 200
    assert body == {
        "object": "list",
        "model": "any-name",
        "data": [{"object": "token_count", "index": at, "tokens": count} for at, count in enumerate(counts)],
        "total_tokens": sum(counts),
        "context_window": 1000,
    }


async def test_one_text_is_one_count(gateway: Any) -> None:
    """A string counts as a list of one."""
    async with gateway() as server:
        _, one = await post(server, {"input": "Hello, world"})
        _, many = await post(server, {"input": ["Hello, world"]})

    assert one == many


async def test_messages_count_as_the_model_reads_them(gateway: Any) -> None:
    """The count of messages is the prompt's, template and tools included: that of the answer's usage."""
    body = {"messages": MESSAGES, "tools": TOOLS}
    async with gateway() as server:
        _, counted = await post(server, body)
        _, without = await post(server, {"messages": MESSAGES})
        _, answer = await server.chat(body)

    assert counted["total_tokens"] == answer["usage"]["prompt_tokens"]
    assert counted["total_tokens"] > without["total_tokens"]


async def test_a_whole_book_is_counted(gateway: Any, speech: str) -> None:
    """What is larger than the window is counted all the same: nothing is left out."""
    async with gateway(context_length=1000) as server:
        _, text = await post(server, {"input": speech})
        _, messages = await post(server, {"messages": [{"role": "user", "content": speech}]})

    assert messages["total_tokens"] > text["total_tokens"] > 30_000


async def test_nothing_is_generated(gateway: Any) -> None:
    """Counting does not trouble the model."""
    async with gateway() as server:
        await post(server, {"messages": MESSAGES})

        assert server.backend.requests == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": "a", "messages": MESSAGES}, "input"),
        ({"input": 5}, "input"),
        ({"input": [15339, 1917]}, "input[0]"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello?"}, "messages"),
        ({"messages": [{"role": "nobody", "content": "Hello?"}]}, "messages[0].role"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(gateway: Any, body: Any, param: str) -> None:
    """A wrong value is a 400 that names the field."""
    async with gateway() as server:
        status, answer = await post(server, body)

    assert status == 400, answer
    assert answer["error"]["param"] == param


async def test_an_empty_list_has_no_tokens(gateway: Any) -> None:
    """No texts are no tokens, which is an answer."""
    async with gateway() as server:
        status, body = await post(server, {"input": []})

    assert (status, body["data"], body["total_tokens"]) == (200, [], 0)
