"""The main job with nothing faked: a GGUF model, the USE embedder, a LanceDB table, HTTP.

The default model has 135 million weights and speaks English; what it answers is checked where it is
reliable, and what it was given to read everywhere.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.testing import serving

pytestmark = pytest.mark.model

QUESTION = "What is the present statutory limit on the public debt?"
ANSWER = "300 billion"
HAMLET: dict[str, Any] = {
    "model": "local",
    "messages": [{"role": "user", "content": "Who wrote Hamlet?"}],
    "temperature": 0,
    "max_tokens": 30,
}


@asynccontextmanager
async def gateway(folder: Path, **rag: Any) -> AsyncIterator[tuple[KimiEngine, openai.AsyncOpenAI, str]]:
    engine = KimiEngine(
        llm_config={"type": "llama-cpp", "model_path": "smollm2-135m-instruct", "context_length": 4096},
        rag_config={"type": "lancedb", "path": str(folder / "lancedb"), **rag},
    )
    async with (
        serving(create_app(engine)) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="-") as sdk,
    ):
        yield engine, sdk, url


def about(text: str, question: str = QUESTION, **options: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": question}]
    return {"model": "local", "messages": messages, "temperature": 0, "max_tokens": 60, **options}


async def vectors_complete(url: str) -> None:
    """Wait until the same question finds the same passages each time."""
    async with aiohttp.ClientSession(url) as http, asyncio.timeout(120):
        while True:
            async with http.get("/v1/documents") as response:
                if all(document["state"] == "ready" for document in (await response.json())["data"]):
                    return
            await asyncio.sleep(0.2)


async def test_a_speech_longer_than_the_window_is_answered_from(speech: str, tmp_path: Path) -> None:
    """The right passage is found, read and answered from; streamed and not it is the same answer."""
    async with gateway(tmp_path) as (_, sdk, url):
        await sdk.chat.completions.create(**about(speech))
        await vectors_complete(url)
        whole = await sdk.chat.completions.create(**about(speech))
        stream = await sdk.chat.completions.create(**about(speech, stream=True))
        chunks = [chunk async for chunk in stream]

    content = whole.choices[0].message.content or ""
    receipt = (whole.model_extra or {})["openkimi"]
    read = [speech[passage["start"] : passage["end"]] for passage in receipt["passages"]]
    assert ANSWER in content
    assert any("300 billion dollars" in passage for passage in read)
    assert receipt["context_tokens"] <= 500
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == content
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == receipt["prompt_tokens"]


async def test_two_at_the_same_time_both_get_their_own_answer(speech: str, tmp_path: Path) -> None:
    """The model serves two callers who ask different things at once."""
    async with gateway(tmp_path) as (_, sdk, _):
        debt, hamlet = await asyncio.gather(
            sdk.chat.completions.create(**about(speech)),
            sdk.chat.completions.create(**HAMLET),
        )

    assert ANSWER in (debt.choices[0].message.content or "")
    assert "Shakespeare" in (hamlet.choices[0].message.content or "")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves_frees_the_model(tmp_path: Path, stream: bool) -> None:
    """A long answer nobody reads any more does not hold up the next caller."""
    endless = about("Be thorough.", "Tell me a very long story.", max_tokens=3000, stream=stream)

    async with gateway(tmp_path) as (_, sdk, url), aiohttp.ClientSession(url) as http:
        leaving = asyncio.create_task(_post(http, endless))
        await asyncio.sleep(1)
        leaving.cancel()
        async with asyncio.timeout(15):
            answer = await sdk.chat.completions.create(**HAMLET)

    assert "Shakespeare" in (answer.choices[0].message.content or "")


async def test_what_was_read_once_is_not_processed_again_after_a_restart(
    speech: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process finds the document in the table on disk; an edit costs only what it changed."""
    async with gateway(tmp_path) as (_, sdk, url), aiohttp.ClientSession(url) as http:
        await sdk.chat.completions.create(**about(speech))
        async with asyncio.timeout(120):
            while (await _documents(http))[0]["state"] != "ready":
                await asyncio.sleep(0.1)
    embedded = _count_embedded(monkeypatch)

    async with gateway(tmp_path) as (engine, sdk, _):
        again = await sdk.chat.completions.create(**about(speech))
        assert embedded == []
        middle = speech.index("\n\n", len(speech) // 2)
        edited = f"{speech[:middle]}\n\nThe harbour master's cat is called Tobermory.{speech[middle:]}"
        await engine.ingest(edited)

    assert ANSWER in (again.choices[0].message.content or "")
    assert 0 < len(embedded) <= 40  # of 1,471: passages that changed, with their sentences


async def test_a_chinese_question_finds_its_chinese_passage(tmp_path: Path) -> None:
    """Retrieval works in Chinese, whatever language the model speaks: the passage is in the prompt."""
    filler = "".join(
        f"第{number}节。河流经过平原，船只来往不断，城中居民以贸易为生，市场每日清晨开放。\n\n"
        for number in range(400)
    )
    fact = "灯塔看守人的名字叫王小川，他在岛上住了三十七年，每天傍晚点灯。"
    text = f"{filler}{fact}\n\n{filler}"

    async with gateway(tmp_path) as (_, sdk, _):
        answer = await sdk.chat.completions.create(**about(text, "灯塔的看守人叫什么名字？", max_tokens=8))

    passages = (answer.model_extra or {})["openkimi"]["passages"]
    assert any("王小川" in text[passage["start"] : passage["end"]] for passage in passages)


async def _post(http: aiohttp.ClientSession, body: dict[str, Any]) -> bytes:
    async with http.post("/v1/chat/completions", data=json.dumps(body)) as response:
        return await response.read()


async def _documents(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with http.get("/v1/documents") as response:
        documents: list[dict[str, Any]] = (await response.json())["data"]
        return documents


def _count_embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the texts that the real embedder gets to see from here on, questions aside."""
    from openkimi_use.embedder import UseEmbedder

    embedded: list[str] = []
    original = UseEmbedder.embed

    async def embed(self: Any, texts: Any, *, input_type: Any = "document") -> Any:
        if input_type == "document":
            embedded.extend(texts)
        return await original(self, texts, input_type=input_type)

    monkeypatch.setattr(UseEmbedder, "embed", embed)
    return embedded


async def test_a_small_document_is_read_part_by_part(tmp_path: Path) -> None:
    """The real model takes notes of every part, answers from them, and all of it is counted."""
    rooms = ["kitchen", "garden", "cellar", "attic"]
    text = "\n\n".join(
        f"In the {room} of the old house stands a clock. It was bought in {1810 + 10 * at} in Vienna. "
        "Nobody has wound it for years, and dust lies on it as it lies on everything else here." * 3
        for at, room in enumerate(rooms)
    )
    question = "In which rooms does a clock stand?"
    async with gateway(tmp_path, max_context_tokens=200) as (_, sdk, _):
        answer = await sdk.chat.completions.create(
            **about(text, question), extra_body={"openkimi": {"mode": "exhaustive"}}
        )

    receipt = (answer.model_extra or {})["openkimi"]
    assert receipt["mode"] == "exhaustive"
    assert receipt["calls"] > 3
    assert receipt["passages"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0.9 * receipt["read_tokens"]
    assert any(room in (answer.choices[0].message.content or "") for room in rooms)


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 40},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
ASK_WEATHER: dict[str, Any] = {
    "model": "local",
    "messages": [{"role": "user", "content": "How warm is it in Paris, in celsius?"}],
    "tools": [WEATHER],
    "temperature": 0,
    "max_tokens": 100,
}


async def test_tools_are_called_over_two_turns(tmp_path: Path) -> None:
    """A required call fits its schema, whole and streamed; its result is answered to."""
    required: dict[str, Any] = {**ASK_WEATHER, "tool_choice": "required", "parallel_tool_calls": False}
    async with gateway(tmp_path) as (_, sdk, _):
        whole = await sdk.chat.completions.create(**required)
        stream = await sdk.chat.completions.create(**required, stream=True)
        chunks = [chunk.choices[0] async for chunk in stream]
        message = whole.choices[0].message
        [call] = message.tool_calls or []
        messages = [
            *ASK_WEATHER["messages"],
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "It is 18 degrees celsius in Paris."},
        ]
        told = await sdk.chat.completions.create(
            **{**ASK_WEATHER, "messages": messages, "tool_choice": "none"}
        )

    pieces = [piece for chunk in chunks for piece in chunk.delta.tool_calls or []]
    arguments = json.loads(call.function.arguments)
    assert whole.choices[0].finish_reason == chunks[-1].finish_reason == "tool_calls"
    assert (call.function.name, message.content) == ("get_weather", None)
    assert arguments.keys() == {"city", "unit"}
    assert arguments["unit"] in ("celsius", "fahrenheit")
    assert pieces[0].id
    assert pieces[0].function is not None
    assert pieces[0].function.name == "get_weather"
    assert "".join(piece.function.arguments or "" for piece in pieces if piece.function) == (
        call.function.arguments
    )
    assert not any(chunk.delta.content for chunk in chunks)
    assert "18" in (told.choices[0].message.content or "")


async def test_tools_are_called_in_responses(tmp_path: Path) -> None:
    """Functions of a response are called, and the output of a call is read in the next."""
    asked = "How warm is it in Paris, in celsius?"
    tool: dict[str, Any] = {"type": "function", "strict": True, **WEATHER["function"]}
    async with gateway(tmp_path) as (_, sdk, _):
        first = await sdk.responses.create(
            model="local", input=asked, tools=[tool], tool_choice="required", parallel_tool_calls=False
        )
        [call] = first.output
        assert call.type == "function_call"
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "It is 18 degrees."}
        second = await sdk.responses.create(
            model="local",
            input=[{"role": "user", "content": asked}, call.model_dump(exclude_none=True), result],  # type: ignore[list-item]
            tools=[tool],
            tool_choice="none",
            temperature=0,
            max_output_tokens=60,
        )

    assert call.name == "get_weather"
    assert json.loads(call.arguments).keys() == {"city", "unit"}
    assert "18" in second.output_text


async def test_logprobs_fit_the_text(tmp_path: Path) -> None:
    """The tokens listed are those of the answer, in chats whole and streamed, and in completions."""
    chat: dict[str, Any] = {**HAMLET, "max_tokens": 12, "logprobs": True, "top_logprobs": 3}
    async with gateway(tmp_path) as (_, sdk, _):
        whole = (await sdk.chat.completions.create(**chat)).choices[0]
        stream = await sdk.chat.completions.create(**chat, stream=True)
        chunks = [chunk.choices[0] async for chunk in stream]
        completion = await sdk.completions.create(
            model="local", prompt="Hamlet was written by", max_tokens=5, temperature=0, logprobs=2
        )

    listed = (whole.logprobs and whole.logprobs.content) or []
    streamed = [token for chunk in chunks for token in (chunk.logprobs and chunk.logprobs.content) or []]
    assert "".join(token.token for token in listed) == whole.message.content
    assert [token.token for token in streamed] == [token.token for token in listed]
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in listed)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or []) == completion.choices[0].text
    assert all(len(top) in (2, 3) for top in logprobs.top_logprobs or [])


async def test_several_paths_answer_in_turns_and_tell_what_they_read(speech: str, tmp_path: Path) -> None:
    """Three paths over one speech: one answer, a receipt with quotes from the text, and usage of all."""
    async with gateway(tmp_path) as (engine, sdk, url):
        await sdk.chat.completions.create(**about(speech))
        await vectors_complete(url)
        options = {"openkimi": {"mpr": {"candidates": 3, "gate": False, "early_stop": False, "drafts": True}}}
        answer = await sdk.chat.completions.create(**about(speech, extra_body=options))
        takes_turns = (await engine._ready()).backend.takes_turns

    receipt = (answer.model_extra or {})["openkimi"]
    [reasoned] = receipt["mpr"]
    paths = reasoned["candidates"]
    assert takes_turns
    assert ANSWER in (answer.choices[0].message.content or "")
    assert (receipt["paths"], reasoned["walked"], reasoned["stopped"]) == (3, 3, None)
    assert all(path["answer"] and path["finish_reason"] in ("stop", "length") for path in paths)
    assert any("300 billion dollars" in quote["quote"] for path in paths for quote in path["supported_by"])
    assert all(
        speech[quote["start"] : quote["end"]] == quote["quote"]
        for path in paths
        for quote in path["supported_by"]
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(path["usage"]["prompt_tokens"] for path in paths)
    assert answer.usage.completion_tokens == sum(path["usage"]["completion_tokens"] for path in paths)
    assert (answer.choices[0].message.model_extra or {})["reasoning_content"].startswith("[1] ")
