"""Responses through the ``openai`` package, which checks every answer and every event strictly."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.responses import FunctionToolParam, Response
from pydantic import BaseModel

LOOK_UP: FunctionToolParam = {
    "type": "function",
    "name": "look_up",
    "description": "Tell the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CALL = {"name": "look_up", "arguments": {"city": "Paris"}}


class Owner(BaseModel):
    """What an answer is parsed into."""

    name: str
    since: int


@asynccontextmanager
async def client(server: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


async def test_a_response_is_read(gateway: Any) -> None:
    """The text is where the SDK looks for it, and so is the receipt."""
    async with gateway(reply="Yes.", reasoning="Hm.") as server, client(server) as made:
        response = await made.responses.create(
            model="any",
            instructions="Be brief.",
            input="Hello?",
            metadata={"run": "7"},
            reasoning={"effort": "low"},
            include=["message.output_text.logprobs"],
            top_logprobs=2,
        )

    assert response.output_text == "Yes."
    assert response.status == "completed"
    assert response.metadata == {"run": "7"}
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens > 0
    assert response.model_extra is not None
    assert response.model_extra["openkimi"]["compressed"] is False


async def test_the_synchronous_client_reads_a_stream(gateway: Any) -> None:
    """Its events have the types that the SDK knows, up to the whole response."""

    def read(url: str) -> tuple[list[str], Response | None]:
        texts, last = list[str](), None
        with openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
        ) as made:
            for event in made.responses.create(model="any", input="Hello?", stream=True):
                if event.type == "response.output_text.delta":
                    texts.append(event.delta)
                if event.type == "response.completed":
                    last = event.response
        return texts, last

    async with gateway(reply="One two three.", reasoning="Hm.") as server:
        texts, last = await asyncio.to_thread(read, server.url)

    assert len(texts) > 1
    assert last is not None
    assert last.output_text == "".join(texts) == "One two three."


async def test_the_streaming_helper_follows_text_and_calls(gateway: Any) -> None:
    """What the helper gathers from the events is the response that ends them."""
    async with gateway(reasoning="Hm.", tool_calls=[CALL, CALL]) as server, client(server) as made:
        async with made.responses.stream(model="any", input="Paris?", tools=[LOOK_UP]) as stream:
            snapshots = [
                event.snapshot
                async for event in stream
                if event.type == "response.function_call_arguments.delta"
            ]
            response = await stream.get_final_response()

    assert json.loads(snapshots[-1]) == {"city": "Paris"}
    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.parsed_arguments for call in calls] == [{"city": "Paris"}] * 2


async def test_a_tool_makes_its_round(gateway: Any) -> None:
    """The SDK's own items go back as input, with what the function gave."""
    async with gateway(reasoning="Hm.", tool_calls=[CALL]) as server, client(server) as made:
        history: list[Any] = [{"role": "user", "content": "What is it like in Paris?"}]
        first = await made.responses.create(model="any", input=history, tools=[LOOK_UP])
        history += first.output
        [call] = [item for item in first.output if item.type == "function_call"]
        history.append(
            {"type": "function_call_output", "call_id": call.call_id, "output": "It rains in Paris."}
        )
        second = await made.responses.create(model="any", input=history, tools=[LOOK_UP])

    assert json.loads(call.arguments) == {"city": "Paris"}
    assert "It rains in Paris." in second.output_text


async def test_an_answer_is_parsed_into_a_model(gateway: Any) -> None:
    """A pydantic model becomes text.format, and the answer an instance of it, streamed or not."""
    async with gateway(reply='{"name":"Marta","since":1946}') as server, client(server) as made:
        parsed = await made.responses.parse(model="any", input="Who?", text_format=Owner)
        asked = server.backend.requests[-1].response_format
        async with made.responses.stream(model="any", input="Who?", text_format=Owner) as stream:
            streamed = await stream.get_final_response()

    assert parsed.output_parsed == streamed.output_parsed == Owner(name="Marta", since=1946)
    assert (asked.type, asked.name, asked.strict) == ("json_schema", "Owner", True)
    assert set(asked.schema["properties"]) == {"name", "since"}


async def test_a_cut_answer_is_read(gateway: Any) -> None:
    """The SDK knows why the answer is incomplete."""
    async with gateway(reply="One two three.") as server, client(server) as made:
        response = await made.responses.create(model="any", input="Hello?", max_output_tokens=2)
        events = [
            event
            async for event in await made.responses.create(
                model="any", input="Hello?", max_output_tokens=2, stream=True
            )
        ]

    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert events[-1].type == "response.incomplete"


async def test_a_failure_in_a_stream_is_raised(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes half an answer for a whole one."""
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0)
    async with gateway(reply="One two three.", fail_after=2) as server, client(server) as made:
        with pytest.raises(openai.APIError, match="fail in the middle"):
            async with made.responses.stream(model="any", input="Hello?") as stream:
                await stream.get_final_response()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ],
    ids=["previous_response_id", "background", "web_search"],
)
async def test_refusals_are_raised(gateway: Any, changes: Any, param: str) -> None:
    """The SDK's exception has the parameter at fault."""
    async with gateway() as server, client(server) as made:
        with pytest.raises(openai.BadRequestError) as raised:
            await made.responses.create(model="any", input="Hello?", **changes)

    assert raised.value.param == param
