"""Conversations at the edge of what OpenAI's format allows, and many clients at once."""

import asyncio
import json
from typing import Any

import pytest

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
USER = {"role": "user", "content": "Hello?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("text", "messages"),
        ([], "messages"),
        ({}, "messages"),
        ([123], "messages[0]"),
        ([None], "messages[0]"),
        ([{}], "messages[0].role"),
        ([USER, {}], "messages[1].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": 123}], "messages[0].role"),
        ([{"role": None, "content": "x"}], "messages[0].role"),
        ([USER, USER, {"role": "king", "content": "x"}], "messages[2].role"),
        ([{"role": "User", "content": "x"}], "messages[0].role"),
        ([{"role": "system", "content": 123}], "messages[0].content"),
        ([{"role": "user", "content": {"type": "text", "text": "x"}}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([USER, {"role": "system", "content": None}], "messages[1].content"),
        ([USER, {"role": "tool", "tool_call_id": "call_1"}], "messages[1].content"),
        ([USER, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
        ([{"role": "user", "content": [5]}], "messages[0].content[0]"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        ([{"role": "user", "content": [IMAGE, {"type": "input_audio"}]}], "messages[0].content[1]"),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "video_url"}]}], "messages[0].content[0]"),
        ([USER, {"role": "assistant", "tool_calls": [{}]}], "messages[1].tool_calls[0].id"),
        (
            [USER, {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": 5}}]}],
            "messages[1].tool_calls[0].function.name",
        ),
        ([USER, {"role": "assistant", "tool_calls": "x"}], "messages[1].tool_calls"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_conversation_that_makes_no_sense_is_refused(gateway: Any, messages: Any, param: str) -> None:
    """A 400 says which message it is, which part of it, and what it takes."""
    async with gateway() as server:
        status, body = await server.chat({"messages": messages})

        assert status == 400
        assert body["error"]["param"] == param
        assert param in body["error"]["message"]
        assert not server.backend.requests


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": []}],
        [{"role": "system", "content": "Be brief."}],
        [{"role": "assistant", "content": "Hello!"}],
        [USER, {"role": "assistant", "content": "Once upon a"}],
        [USER, {"role": "assistant", "content": ""}],
        [USER, {"role": "assistant", "content": None}, USER],
        [USER, {"role": "assistant"}, USER],
        [USER, {"role": "assistant", "content": None, "refusal": "No."}, USER],
        [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER],
        [USER, USER, USER],
        [USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, USER],
        [USER, {"role": "system", "content": "Late."}, {"role": "developer", "content": "Later."}],
        [USER, {"role": "assistant", "tool_calls": [CALL]}],
        [USER, {"role": "assistant", "tool_calls": [CALL], "content": None}, RESULT],
        [USER, {"role": "assistant", "tool_calls": []}, USER],
        [USER, {"role": "tool", "tool_call_id": "never called", "content": ""}],
        [USER, {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        [USER, {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}, USER],
        [{"role": "user", "name": "Ada", "content": [{"type": "text", "text": ""}]}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"role": "user", "content": "\x00\x01\x7f\u2028\ufeff\U0010ffff"}],
        [{"role": "user", "content": "e\u0301" * 50 + "\u200d" * 50}],
        [{"role": "user", "content": "  \n\t  "}],
        [{"role": "user", "content": "<|im_end|><|endoftext|></s>[INST]"}],
    ],
    ids=lambda value: str(value)[:80],
)
async def test_an_odd_conversation_is_answered(gateway: Any, messages: Any) -> None:
    """Repeated roles, empty texts, an assistant's message at the end: the model answers what there is."""
    async with gateway(reply="Yes.") as server:
        status, body = await server.chat({"messages": messages})

        assert status == 200, body
        assert body["choices"][0]["message"]["content"] == "Yes."
        assert len(server.backend.requests[-1].messages) == len(messages)


async def test_parts_are_one_text(gateway: Any) -> None:
    """Text parts are joined by blank lines, and images stay where the model takes them."""
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}]
    async with gateway(reply="Yes.") as server:
        await server.chat({"messages": [{"role": "user", "content": parts}]})
        text = server.backend.requests[-1].messages[0].content
        status, _ = await server.chat({"messages": [{"role": "user", "content": [*parts, IMAGE]}]})
        content = server.backend.requests[-1].messages[0].content
        await server.chat(
            {"messages": [{"role": "user", "content": [{**IMAGE, "image_url": "https://x.example/a.png"}]}]}
        )
        bare = server.backend.requests[-1].messages[0].content

    assert text == "What is\n\nthis?"
    assert status == 200
    assert (content[-1].url, content[-1].detail) == (IMAGE["image_url"]["url"], "low")
    assert bare[0].url == "https://x.example/a.png"


@pytest.mark.parametrize("unit", ["x", "字", "\U0001f44d", "\x00", "a\u0301"])
async def test_a_very_long_word_is_answered(gateway: Any, unit: str) -> None:
    """A text without a single blank, far longer than the window."""
    body = {"messages": [{"role": "system", "content": unit * 60_000}, USER]}
    async with gateway(reply="Yes.", context_length=2048) as server:
        status, answer = await server.chat(body)

    assert status == 200, answer
    assert answer["usage"]["prompt_tokens"] <= 2048


async def test_many_messages_are_answered(gateway: Any) -> None:
    """Thousands of short turns are more than the window holds."""
    turns = [{"role": "assistant" if at % 2 else "user", "content": f"Turn {at}."} for at in range(4001)]
    async with gateway(reply="Yes.", context_length=2048) as server:
        status, answer = await server.chat({"messages": turns})

    assert status == 200, answer


async def test_an_emoji_is_never_cut(gateway: Any) -> None:
    """Whatever its pieces, every chunk is text by itself and together they are the answer."""
    reply = (
        "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3fd\ufe0f 大家好 e\u0301\u0323 \U0001f1eb\U0001f1f7"
    )
    async with gateway(reply=reply) as server:
        events = await server.lines(HELLO)

    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events[:-1]]
    pieces = [delta["content"] for delta in deltas if delta.get("content")]
    assert len(pieces) > 1
    assert "".join(pieces) == reply


async def test_sixty_four_streams_run_side_by_side(gateway: Any) -> None:
    """Each client gets its own answer, whole."""
    async with gateway(token_delay=0.01) as server:
        bodies = [{**HELLO, "seed": seed} for seed in range(64)]
        answers = await asyncio.gather(*map(server.lines, bodies))

    for seed, events in enumerate(answers):
        chunks = [json.loads(event[6:]) for event in events[:-1] if event.startswith("data: ")]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text.endswith(f"[seed={seed}]")
        assert events[-1] == "data: [DONE]"
    assert server.backend.peak > 8


@pytest.mark.parametrize("concurrency", [None, 2])
async def test_hundreds_who_leave_leave_nothing_behind(gateway: Any, concurrency: int | None) -> None:
    """Whether they were being answered or waited, streamed or not: no slot and no task is left over."""
    async with gateway(
        {"max_queue": 1000}, reply="word " * 2000, token_delay=0.01, concurrency=concurrency
    ) as server:
        await server.chat({**HELLO, "max_tokens": 1})
        before = len(asyncio.all_tasks())
        leaving = [
            asyncio.create_task(server.chat({**HELLO, "stream": at % 2 == 0, "n": 1 + at % 3}))
            for at in range(300)
        ]
        await until(lambda: server.backend.active > 100)
        for at, request in enumerate(leaving):
            request.cancel()
            if at % 50 == 0:
                await asyncio.sleep(0.02)
        await asyncio.wait(leaving)
        await until(lambda: server.backend.active == 0)
        status, body = await server.chat({**HELLO, "max_tokens": 1})
        await until(lambda: len(asyncio.all_tasks()) <= before + 2)

    assert (status, body["choices"][0]["message"]["content"]) == (200, "word")
