"""Responses, streamed: the events in their order, and how a stream ends."""

import asyncio
import json
from typing import Any

import pytest

HELLO = {"model": "any-name", "input": "Hello?", "stream": True}
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}
CALL = {"name": "look_up", "arguments": {"city": "Paris"}}
DELTAS = {
    "response.output_text.delta": "text",
    "response.reasoning_text.delta": "text",
    "response.function_call_arguments.delta": "arguments",
}


async def stream(server: Any, body: Any) -> list[Any]:
    """Return the data of each event, whose name is checked; comments are left out."""
    async with server.http.post("/v1/responses", json={**HELLO, **body}) as response:
        text = await response.text()
        assert response.status == 200, text
        assert response.content_type == "text/event-stream"
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def kinds(events: list[Any]) -> list[str]:
    """List the types of events, each once where it repeats."""
    names = [event["type"] for event in events]
    return [name for name, before in zip(names, [None, *names], strict=False) if name != before]


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_message_is_told_from_its_beginning_to_its_end(gateway: Any) -> None:
    """The events of a text come in OpenAI's order, and the last has the whole response."""
    async with gateway(reply="One two three.") as server:
        events = await stream(server, {})

    assert kinds(events) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["response"]["status"] for event in events[:2]] == ["in_progress"] * 2
    assert events[2]["item"]["content"] == []
    assert "".join(event["delta"] for event in events if "delta" in event) == "One two three."
    response = events[-1]["response"]
    assert response["output"] == [events[-2]["item"]]
    assert response["output"][0]["content"][0]["text"] == "One two three."
    assert response["usage"]["output_tokens"] > 0
    assert response["openkimi"]["compressed"] is False


async def test_events_are_numbered_and_of_one_response(gateway: Any) -> None:
    """Sequence numbers count from 0, and there is one id and one creation date."""
    async with gateway(reply="Yes.", reasoning="Hm.") as server:
        events = await stream(server, {})

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    responses = [event["response"] for event in events if "response" in event]
    assert len({(response["id"], response["created_at"]) for response in responses}) == 1


async def test_reasoning_and_calls_are_items_of_their_own(gateway: Any) -> None:
    """Each item ends before the next begins, and its pieces add up to it."""
    calls = [CALL, {"name": "look_up", "arguments": {"city": "Rome"}}]
    async with gateway(reasoning="Hm, cities.", tool_calls=calls) as server:
        events = await stream(server, {"tools": [LOOK_UP]})

    call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert kinds(events[2:-1]) == [
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        *call,
        *call,
    ]
    items = events[-1]["response"]["output"]
    assert [item["type"] for item in items] == ["reasoning", "function_call", "function_call"]
    assert [json.loads(item["arguments"])["city"] for item in items[1:]] == ["Paris", "Rome"]
    for index, item in enumerate(items):
        own = [event for event in events if event.get("output_index") == index]
        assert {event.get("item_id", item["id"]) for event in own} == {item["id"]}
        whole = "".join(event["delta"] for event in own if event["type"] in DELTAS)
        [done] = [event for event in own if event["type"].endswith(("_text.done", "arguments.done"))]
        assert done.get("text", done.get("arguments")) == whole
        assert done.get("name") == items[index].get("name")


async def test_a_stream_and_a_whole_response_are_alike(gateway: Any) -> None:
    """Apart from ids and dates the last event holds what a response that is not streamed holds."""
    async with gateway(reply="One two three.", reasoning="Hm.") as server:
        body = {"max_output_tokens": 4, "top_logprobs": 1, "metadata": {"a": "b"}}
        events = await stream(server, body)
        async with server.http.post("/v1/responses", json={**HELLO, **body, "stream": False}) as response:
            whole = await response.json()

    streamed = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    for each in (whole, streamed):
        del each["id"], each["created_at"]
        for item in each["output"]:
            del item["id"]
    assert streamed == whole


async def test_logprobs_ride_on_the_pieces_they_belong_to(gateway: Any) -> None:
    """Each piece of text has the log-probabilities of its tokens, and the part has all of them."""
    async with gateway(reply="One two three.") as server:
        events = await stream(server, {"include": ["message.output_text.logprobs"]})

    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert all("".join(token["token"] for token in event["logprobs"]) == event["delta"] for event in deltas)
    part = events[-1]["response"]["output"][0]["content"][0]
    assert part["logprobs"] == [token for event in deltas for token in event["logprobs"]]


@pytest.mark.parametrize("reply", ["", "One two three."])
async def test_an_answer_without_text_is_an_empty_message(gateway: Any, reply: str) -> None:
    """There is always an item, so that clients find the text where they look for it."""
    async with gateway(reply=reply) as server:
        events = await stream(server, {})

    response = events[-1]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == reply


async def test_a_failure_in_the_middle_is_told_twice(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error event that SDKs raise, then response.failed with what had come; nothing else follows."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0)
    async with gateway(reply="One two three.", fail_after=2) as server:
        events = await stream(server, {})

    error, failed = events[-2:]
    assert error["type"] == "error"
    assert (
        error["message"] == error["error"]["message"] == "the script says to fail in the middle of the answer"
    )
    assert error["error"]["type"] == "server_error"
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["code"] == "server_error"
    [item] = failed["response"]["output"]
    assert item["status"] == "incomplete"
    assert item["content"][0]["text"] == "One "
    assert "response.output_item.done" not in kinds(events)


async def test_a_failure_before_the_first_event_is_an_http_error(gateway: Any) -> None:
    """What fails at once has a status of its own."""
    async with gateway(fail_before="It is asleep.", fail_kind="unavailable") as server:
        async with server.http.post("/v1/responses", json=HELLO) as response:
            body = await response.json()

    assert response.status == 503
    assert body["error"]["message"] == "It is asleep."


async def test_every_event_is_one_write(gateway: Any) -> None:
    """Nobody sees half an event: each write ends with a blank line and holds no other."""
    async with gateway(reply="One two three.", token_delay=0.02) as server:
        async with server.http.post("/v1/responses", json=HELLO) as response:
            writes = [chunk async for chunk, _ in response.content.iter_chunks()]

    assert all(write.endswith(b"\n\n") for write in writes)
    assert len(writes) > 5


async def test_leaving_ends_the_work(gateway: Any) -> None:
    """A client that has read some events and closes its connection frees the model."""
    async with gateway(reply="word " * 4000, token_delay=0.005) as server:
        async with server.http.post("/v1/responses", json=HELLO) as response:
            await response.content.readuntil(b"output_text.delta")
            response.close()
        await until(lambda: server.backend.active == 0)

        assert server.backend.cancelled == 1


async def test_leaving_a_response_that_is_not_streamed_ends_the_work(gateway: Any) -> None:
    """A request that is cancelled frees the model too."""
    async with gateway(reply="word " * 4000, token_delay=0.005) as server:
        body = {**HELLO, "stream": False}
        request = asyncio.create_task(server.http.post("/v1/responses", json=body).__aenter__())
        await until(lambda: server.backend.active == 1)
        request.cancel()
        await until(lambda: server.backend.active == 0)

        assert server.backend.cancelled == 1


async def test_silence_is_filled_with_comments(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the model is silent, comments keep the connection."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.05)
    monkeypatch.setattr("openkimi.api.sse.KEEP_ALIVE_SECONDS", 0.05)
    async with gateway(reply="Yes.", delay=0.4) as server:
        async with server.http.post("/v1/responses", json=HELLO) as response:
            text = await response.text()

    assert "\n\n: still working\n\n" in text
    assert text.rstrip("\n").split("\n\n")[-1].startswith("event: response.completed\n")
