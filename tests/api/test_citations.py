"""Citations on the wire: with the receipt, whole and streamed, wherever an answer can be asked for."""

from typing import Any

import msgspec

FILLER = "The river flows through the plain and the boats go by in the morning light. " * 60
FACT = "The lighthouse keeper of Port Arden is called Orlando Finch."
BOOK = f"{FILLER}\n\n{FACT}\n\n{FILLER}"
QUESTION = "What is the lighthouse keeper called?"
REPLY = "He is called Orlando Finch. He was born in Lisbon."
CHAT = {"messages": [{"role": "system", "content": BOOK}, {"role": "user", "content": QUESTION}]}


async def post(server: Any, path: str, body: Any) -> Any:
    async with server.http.post(path, json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def events(server: Any, path: str, body: Any) -> list[Any]:
    async with server.http.post(path, json={**body, "stream": True}) as response:
        lines = (await response.text()).splitlines()
    told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [msgspec.json.decode(line) for line in told if line != "[DONE]"]


def assert_cited(receipt: Any, *, choice: int = 0, message: int | None = 0, sent: str = BOOK) -> None:
    [citation], [unsupported] = receipt["citations"], receipt["unsupported"]
    assert REPLY[citation["answer_start"] : citation["answer_end"]] == "He is called Orlando Finch."
    assert REPLY[unsupported["answer_start"] : unsupported["answer_end"]] == "He was born in Lisbon."
    assert sent[citation["start"] : citation["end"]] == citation["quote"] == FACT
    assert (citation["choice"], unsupported["choice"], citation["message"]) == (choice, choice, message)


async def test_a_chat_completion_has_citations(gateway: Any) -> None:
    """They stand in the receipt, with offsets into the message that was sent."""
    async with gateway(context_length=1024, reply=REPLY) as server:
        body = await post(server, "/v1/chat/completions", CHAT)

    assert_cited(body["openkimi"])


async def test_a_stream_has_them_on_the_chunk_with_the_finish_reason(gateway: Any) -> None:
    """Of several answers each has its own, under its number, after all of its text."""
    async with gateway(context_length=1024, reply=REPLY) as server:
        chunks = await events(server, "/v1/chat/completions", {**CHAT, "n": 3})

    last = [chunk for chunk in chunks if "openkimi" in chunk]
    assert all(chunk["choices"][0]["finish_reason"] == "stop" for chunk in last)
    assert sorted(chunk["choices"][0]["index"] for chunk in last) == [0, 1, 2]
    for chunk in last:
        assert_cited(chunk["openkimi"], choice=chunk["choices"][0]["index"])


async def test_several_whole_answers_are_told_apart(gateway: Any) -> None:
    """The one receipt has the citations of all choices by number."""
    async with gateway(context_length=1024, reply=REPLY) as server:
        body = await post(server, "/v1/chat/completions", {**CHAT, "n": 2})

    receipt = body["openkimi"]
    assert sorted(citation["choice"] for citation in receipt["citations"]) == [0, 1]
    assert sorted(span["choice"] for span in receipt["unsupported"]) == [0, 1]


async def test_citations_can_be_left_out(gateway: Any) -> None:
    """`openkimi.citations: false` leaves the lists empty, null does not."""
    async with gateway(context_length=1024, reply=REPLY) as server:
        off = await post(server, "/v1/chat/completions", {**CHAT, "openkimi": {"citations": False}})
        on = await post(server, "/v1/chat/completions", {**CHAT, "openkimi": {"citations": None}})

    assert (off["openkimi"]["citations"], off["openkimi"]["unsupported"]) == ([], [])
    assert_cited(on["openkimi"])


async def test_a_response_names_the_item_that_is_quoted(gateway: Any) -> None:
    """Whole and streamed, `message` is the number of the input item."""
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "developer", "content": BOOK},
        {"role": "user", "content": QUESTION},
    ]
    body = {"instructions": "Be brief.", "input": items}
    async with gateway(context_length=1024, reply=REPLY) as server:
        whole = await post(server, "/v1/responses", body)
        streamed = await events(server, "/v1/responses", body)

    assert_cited(whole["openkimi"], message=1)
    assert streamed[-1]["type"] == "response.completed"
    assert_cited(streamed[-1]["response"]["openkimi"], message=1)


async def test_a_completion_has_citations(gateway: Any) -> None:
    """Of the best answers each is cited under the number that it is shown with."""
    body = {"prompt": f"{BOOK}\n\n{QUESTION}", "max_tokens": 100}
    async with gateway(context_length=1024, reply=REPLY) as server:
        whole = await post(server, "/v1/completions", body)
        best = await post(server, "/v1/completions", {**body, "best_of": 3})
        pieces = await events(server, "/v1/completions", body)

    assert_cited(whole["openkimi"])
    assert_cited(best["openkimi"])
    assert_cited(pieces[-1]["openkimi"])


async def test_answers_to_several_prompts_are_cited_apart(gateway: Any) -> None:
    """Each choice has the receipt of its prompt, with its own citations under its number."""
    body = {"prompt": [f"{BOOK}\n\n{QUESTION}", "Hello?"], "n": 2, "max_tokens": 100}
    async with gateway(context_length=1024, reply=REPLY) as server:
        whole = await post(server, "/v1/completions", body)
        pieces = await events(server, "/v1/completions", body)

    streamed = {piece["choices"][0]["index"]: piece["openkimi"] for piece in pieces if "openkimi" in piece}
    for index, choice in enumerate(whole["choices"]):
        for receipt in (choice["openkimi"], streamed[index]):
            if index < 2:
                assert_cited(receipt, choice=index)
            else:
                assert not receipt["citations"]
