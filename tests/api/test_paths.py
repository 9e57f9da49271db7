"""Several reasoning paths over HTTP: asked for, told of, and counted."""

import json
from typing import Any

import openai
import pytest

from openkimi import Delta, Usage
from openkimi.api.metering import Meter
from openkimi.progress import Progress
from openkimi.receipt import Receipt

FACT = "The lighthouse keeper of Skerryvore is called Orlando Finch."
FILLER = "The river flows through the plain and the boats go by. " * 60
BOOK = f"{FILLER}\n\n{FACT}\n\n{FILLER}"
ANSWER = "He is called Orlando Finch."
MESSAGES: Any = [
    {"role": "system", "content": BOOK},
    {"role": "user", "content": "What is the lighthouse keeper called?"},
]


def asking(**options: Any) -> dict[str, Any]:
    return {"messages": MESSAGES, "openkimi": {"mpr": {"candidates": 2, **options}}}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"candidates": 33}, "candidates"),
        ({"gate": "yes"}, "gate"),
        ({"early_stop": 1}, "early_stop"),
        ({"timeout": 0}, "timeout"),
        ({"max_total_tokens": 0}, "max_total_tokens"),
        ({"on_unsupported": "invent"}, "on_unsupported"),
        ({"drafts": "all"}, "drafts"),
    ],
)
@pytest.mark.parametrize("address", ["chat/completions", "completions", "responses"])
async def test_what_is_wrong_is_named(
    gateway: Any, address: str, options: dict[str, Any], field: str
) -> None:
    """Wherever it is asked for, the error says which field and what it may be."""
    asked = {"messages": MESSAGES, "prompt": "Hello?", "input": "Hello?", "openkimi": {"mpr": options}}
    async with gateway() as server, server.http.post(f"/v1/{address}", json=asked) as response:
        status, error = response.status, (await response.json())["error"]

    assert (status, error["param"], error["code"]) == (400, f"openkimi.mpr.{field}", "invalid_value")


async def test_the_sdk_asks_for_paths_and_reads_what_they_came_to(gateway: Any) -> None:
    """Options go through extra_body, the receipt is in the extra fields of the answer."""
    async with gateway(context_length=1024, reply=ANSWER) as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            answer = await client.chat.completions.create(
                model="any",
                messages=MESSAGES,
                extra_body={"openkimi": {"mpr": {"candidates": 3, "early_stop": False, "drafts": True}}},
            )

    message = answer.choices[0].message
    [reasoned] = (answer.model_extra or {})["openkimi"]["mpr"]
    assert (message.model_extra or {})["reasoning_content"] == "".join(
        f"[{number}] {ANSWER}\n\n" for number in (1, 2, 3)
    )
    assert (reasoned["planned"], reasoned["walked"], reasoned["stopped"]) == (3, 3, None)
    for path in reasoned["candidates"]:
        [quote] = path["supported_by"]
        assert (path["answer"], path["support"]) == (ANSWER, 1.0)
        assert BOOK[quote["start"] : quote["end"]] == quote["quote"] == FACT
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    shown = answer.usage.completion_tokens - answer.usage.completion_tokens_details.reasoning_tokens
    assert shown == answer.usage.completion_tokens // 3


async def test_a_stream_tells_of_each_path_and_then_the_answer(gateway: Any) -> None:
    """Progress comes as comments, drafts as reasoning, the receipt on the last chunk."""
    async with gateway(context_length=1024, reply=ANSWER) as server:
        lines = await server.lines(asking(drafts=True, early_stop=False))

    told = [line for line in lines if "reasoning" in line]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [line for line in told if line.startswith(":")][-1] == ": openkimi reasoning 2/2 paths"
    assert sum("reasoning_content" in delta for delta in deltas) == 2
    assert "".join(delta.get("content", "") for delta in deltas) == ANSWER
    assert chunks[-1]["openkimi"]["mpr"][0]["walked"] == 2


async def test_each_of_several_streamed_answers_has_its_own_paths(gateway: Any) -> None:
    """The chunk that ends an answer has the entry of that answer alone."""
    async with gateway(context_length=1024, reply=ANSWER) as server:
        lines = await server.lines({**asking(), "n": 2})

    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    ends = {chunk["choices"][0]["index"]: chunk["openkimi"] for chunk in chunks if "openkimi" in chunk}
    assert {index: [entry["choice"] for entry in receipt["mpr"]] for index, receipt in ends.items()} == {
        0: [0],
        1: [1],
    }


async def test_a_response_places_quotes_by_item_and_drafts_as_reasoning(gateway: Any) -> None:
    """The numbers of messages are those of the request's items."""
    items = [{"role": "user", "content": f"{BOOK}\n\nWhat is the lighthouse keeper called?"}]
    body = {"instructions": "Be brief.", "input": items, **asking(drafts=True)}
    async with gateway(context_length=1024, reply=ANSWER) as server:
        async with server.http.post("/v1/responses", json=body) as response:
            answer = await response.json()

    assert [item["type"] for item in answer["output"]] == ["reasoning", "message"]
    [reasoned] = answer["openkimi"]["mpr"]
    assert {quote["message"] for path in reasoned["candidates"] for quote in path["supported_by"]} == {0}


async def test_completions_of_several_prompts_have_paths_each(gateway: Any) -> None:
    """Each choice's receipt has its own; drafts have no place there."""
    body = {"prompt": ["Hello?", "Who?"], "openkimi": {"mpr": {"candidates": 2, "drafts": True}}}
    async with gateway(reply="Yes.") as server:
        async with server.http.post("/v1/completions", json=body) as response:
            answer = await response.json()

    assert [choice["text"] for choice in answer["choices"]] == ["Yes.", "Yes."]
    assert [[entry["choice"] for entry in one["openkimi"]["mpr"]] for one in answer["choices"]] == [[0], [1]]


async def test_where_all_paths_fail_the_status_is_that_of_the_first(gateway: Any) -> None:
    """In OpenAI's shape, with what to think of it."""
    async with gateway(fail_before="no room", fail_kind="unavailable") as server:
        status, answer = await server.chat(asking())

    assert status == 503
    assert answer["error"]["message"] == "all 2 reasoning paths failed; the first: no room"


def test_who_leaves_between_paths_pays_for_those_that_were_walked() -> None:
    """What each has used counts for the answers that have not ended, and once for those that have."""
    meter = Meter()
    meter.add(Receipt(compressed=False, window=100, prompt_tokens=10))
    for choice in (0, 1):
        spent = Usage(prompt_tokens=10, completion_tokens=5)
        meter.add(Progress(stage="reasoning", done=1, total=2, spent=spent, choice=choice))
    left = meter.tokens
    meter.add(Delta(finish_reason="stop", usage=Usage(prompt_tokens=20, completion_tokens=8), index=0))

    assert left == 15 + 15 + 10
    assert meter.tokens == 28 + 15
