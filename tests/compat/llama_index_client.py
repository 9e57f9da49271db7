"""LlamaIndex's client of OpenAI-like servers."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

STORY = "The lighthouse belongs to Marta Veil. The harbour belongs to the town."
QUESTION = [
    ChatMessage(role="system", content=STORY),
    ChatMessage(role="user", content="Who owns the lighthouse?"),
]


class Owner(BaseModel):
    """Who owns a thing."""

    name: str


def get_weather(location: str) -> str:
    """Tell the weather of a place."""
    return f"Sunny in {location}."


@pytest.fixture(params=[True, False], ids=["chat", "completions"])
def model(request: Any) -> OpenAILike:
    return client(is_chat_model=request.param)


def client(**options: Any) -> OpenAILike:
    return OpenAILike(
        model="any", api_base=os.environ["OPENKIMI_URL"], api_key="none", context_window=8192, **options
    )


def joined(parts: Iterator[Any]) -> str:
    return "".join(part.delta or "" for part in parts)


def test_chat(model: OpenAILike) -> None:
    """An answer whole and in pieces is the same, over both endpoints."""
    whole = model.chat(QUESTION).message.content
    pieces = joined(model.stream_chat(QUESTION))

    assert whole
    assert pieces == whole


def test_complete(model: OpenAILike) -> None:
    """A prompt is completed whole and in pieces, over both endpoints."""
    prompt = f"{STORY}\n\nWho owns the lighthouse?"

    whole = model.complete(prompt).text
    pieces = joined(model.stream_complete(prompt))

    assert "Marta Veil" in whole
    assert pieces == whole


async def test_asynchronous_chat(model: OpenAILike) -> None:
    """The asynchronous client gets the same answers."""
    whole = (await model.achat(QUESTION)).message.content
    pieces = [part.delta or "" async for part in await model.astream_chat(QUESTION)]

    assert "".join(pieces) == whole


def test_tools() -> None:
    """Calls of functions come with their arguments, whole and in pieces."""
    model = client(is_chat_model=True, is_function_calling_model=True)
    tool = FunctionTool.from_defaults(get_weather)

    whole = model.chat_with_tools([tool], user_msg="How is the weather?")
    *_, last = model.stream_chat_with_tools([tool], user_msg="How is the weather?")

    for answer in (whole, last):
        [call] = model.get_tool_calls_from_response(answer)
        assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"location": "San Francisco, CA"})


def test_structured_output() -> None:
    """An answer fits the model that is asked for."""
    model = client(is_chat_model=True, should_use_structured_outputs=True)

    answer = model.as_structured_llm(Owner).chat(QUESTION)

    assert isinstance(answer.raw, Owner)
