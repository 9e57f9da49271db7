"""Completions, not streamed and streamed, as OpenAI's clients expect them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import openai
import pytest

from openkimi import Backend, Delta, KimiEngine, TokenLogprob, TopLogprob, Usage
from openkimi.api.app import create_app
from openkimi.testing import serving
from openkimi_scripted.tokens import tokenize

PROMPT = "The sky is blue. Grass is green.\n\nWhich colour is the sky?"
OTHER = "Paris is in France. Rome is in Italy.\n\nWhere is Rome?"


async def post(server: Any, body: Any, **options: Any) -> tuple[int, Any]:
    async with server.http.post("/v1/completions", json=body, **options) as response:
        return response.status, await response.json()


async def lines(server: Any, body: Any) -> list[str]:
    async with server.http.post("/v1/completions", json={**body, "stream": True}) as response:
        assert response.status == 200, await response.text()
        return (await response.text()).removesuffix("\n\n").split("\n\n")


async def pieces(server: Any, body: Any) -> list[Any]:
    events = await lines(server, body)
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


async def refused(server: Any, body: Any) -> Any:
    status, answer = await post(server, body)
    assert status == 400, answer
    return answer["error"]


class Fragments(Backend):
    """Answers with a character whose bytes are two tokens; serves the given features alone."""

    def __init__(self, *features: Any) -> None:
        self.features = frozenset(features)

    @property
    def context_window(self) -> int:
        return 1000

    async def generate(self, request: Any) -> Any:
        tokens = [
            TokenLogprob(token="a", logprob=-0.5),
            TokenLogprob(token="�", logprob=-1.0, bytes=(0xC3,)),
            TokenLogprob(
                token="�",
                logprob=-2.0,
                bytes=(0xA9,),
                top_logprobs=(TopLogprob(token="�", logprob=-1.5, bytes=(0xAA,)),),
            ),
            TokenLogprob(token="b", logprob=-0.1),
        ]
        yield Delta(content="aéb", logprobs=tuple(tokens) if request.logprobs else ())
        yield Delta(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=4))

    async def count_prompt(self, request: Any) -> int:
        return 1

    async def count_tokens(self, texts: Any) -> list[int]:
        return [1 for _ in texts]


class Lucky(Fragments):
    """Answers with the number of the call, the second one with the likeliest tokens."""

    calls = 0

    async def generate(self, request: Any) -> Any:
        self.calls += 1
        text, logprob = str(self.calls), {2: -0.1, 4: -0.2}.get(self.calls, -3.0)
        yield Delta(content=text, logprobs=(TokenLogprob(token=text, logprob=logprob),))
        yield Delta(finish_reason="stop", usage=Usage(prompt_tokens=2, completion_tokens=1))


@pytest.fixture
def around(held: Any) -> Any:
    """Make a gateway around a backend: ``async with around(backend) as server``."""

    @asynccontextmanager
    async def start(backend: Backend) -> AsyncIterator[SimpleNamespace]:
        plugin = held()
        plugin.backend = backend
        engine = KimiEngine(
            plugins=[plugin],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
        )
        async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:
            yield SimpleNamespace(http=http)

    return start


async def test_an_answer_has_openais_shape(gateway: Any) -> None:
    """Every field of a text_completion is there, the model's name echoed, the receipt beside it."""
    async with gateway(reply="Blue.") as server:
        status, body = await post(server, {"model": "any-name", "prompt": PROMPT})

    assert status == 200
    assert body["object"] == "text_completion"
    assert body["model"] == "any-name"
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"index": 0, "text": "Blue.", "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["completion_tokens"] == 2
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 2
    assert body["openkimi"]["compressed"] is False


async def test_a_prompt_is_a_users_message(gateway: Any) -> None:
    """The backends are chat models: the prompt is the one message that they get."""
    async with gateway() as server:
        _, body = await post(server, {"prompt": PROMPT, "temperature": 1})

        [message] = server.backend.requests[-1].messages
        assert (message.role, message.content) == ("user", PROMPT)
        assert body["choices"][0]["text"] == "The sky is blue."


async def test_a_long_prompt_goes_through_the_pipeline(gateway: Any, speech: str) -> None:
    """A prompt longer than the window is answered from its best passages, with a receipt."""
    prompt = f"{speech}\n\nWhat is the present statutory debt limit?"
    async with gateway(context_length=2000) as server:
        status, body = await post(server, {"prompt": prompt})

    assert status == 200
    assert body["openkimi"]["compressed"] is True
    assert body["openkimi"]["passages"]


async def test_pieces_of_a_stream_add_up_to_the_answer(gateway: Any) -> None:
    """A stream has one id, the text in pieces, one finish reason with the receipt, and [DONE]."""
    async with gateway(reply="One two three.") as server:
        streamed = await pieces(server, {"prompt": PROMPT})

    assert {(piece["id"], piece["created"], piece["object"]) for piece in streamed} == {
        (streamed[0]["id"], streamed[0]["created"], "text_completion")
    }
    assert "".join(piece["choices"][0]["text"] for piece in streamed) == "One two three."
    assert [piece["choices"][0]["finish_reason"] for piece in streamed][-2:] == [None, "stop"]
    assert "openkimi" in streamed[-1]
    assert not any("usage" in piece for piece in streamed)


async def test_usage_is_streamed_only_when_asked_for(gateway: Any) -> None:
    """The last piece before [DONE] has the usage and no choices; the others have usage null."""
    body = {"prompt": [PROMPT, OTHER], "n": 2, "stream_options": {"include_usage": True}}
    async with gateway(reply="Yes.") as server:
        *others, last = await pieces(server, body)
        _, whole = await post(server, body)

    assert all(piece["usage"] is None for piece in others)
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]


async def test_choices_are_numbered_prompt_by_prompt(gateway: Any) -> None:
    """With several prompts and n answers each, an index is the prompt's number times n, plus the answer's."""
    body = {"prompt": [PROMPT, OTHER], "n": 2, "temperature": 0, "max_tokens": 50}
    async with gateway() as server:
        _, whole = await post(server, body)
        streamed = await pieces(server, body)

    texts = ["The sky is blue. [temperature=0]"] * 2 + ["Rome is in Italy. [temperature=0]"] * 2
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in whole["choices"]] == texts
    told = ["", "", "", ""]
    for piece in streamed:
        for choice in piece["choices"]:
            told[choice["index"]] += choice["text"]
    assert told == texts
    assert sum(piece["choices"][0]["finish_reason"] is not None for piece in streamed) == 4


async def test_each_prompt_counts_once(gateway: Any) -> None:
    """Usage counts every prompt once, however many answers it gets, and all the answers."""
    async with gateway(reply="Yes.") as server:
        _, first = await post(server, {"prompt": PROMPT})
        _, second = await post(server, {"prompt": OTHER})
        _, both = await post(server, {"prompt": [PROMPT, OTHER], "n": 3})

    assert both["usage"]["prompt_tokens"] == sum(one["usage"]["prompt_tokens"] for one in (first, second))
    assert both["usage"]["completion_tokens"] == 6 * first["usage"]["completion_tokens"]


async def test_several_prompts_have_a_receipt_each(gateway: Any) -> None:
    """The receipt of one prompt is in the answer, those of several in their choices."""
    async with gateway(reply="Yes.") as server:
        _, body = await post(server, {"prompt": ["a", "a longer prompt of words"]})

    sizes = [choice["openkimi"]["prompt_tokens"] for choice in body["choices"]]
    assert "openkimi" not in body
    assert sizes[0] < sizes[1]


async def test_several_prompts_are_one_request(gateway: Any) -> None:
    """Prompts of one request take one place of the queue, and no more slots than the backend has."""
    async with gateway(server={"max_queue": 0}, reply="Yes.", concurrency=1) as server:
        status, body = await post(server, {"prompt": ["a", "b", "c", "d"]})

        assert status == 200
        assert len(body["choices"]) == 4
        assert server.backend.peak == 1


async def test_a_client_that_leaves_stops_all_prompts(gateway: Any) -> None:
    """Closing the connection cancels what runs and what waits."""
    async with gateway(reply="word " * 200, token_delay=0.02, concurrency=2) as server:
        asking = asyncio.create_task(post(server, {"prompt": ["a"] * 6, "max_tokens": 100}))
        while server.backend.active < 2:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        while server.backend.active:
            await asyncio.sleep(0.01)

        assert server.backend.cancelled == len(server.backend.requests)
        assert server.backend.finished == 0


async def test_answers_are_short_by_default(gateway: Any) -> None:
    """Without max_tokens, or with null, an answer ends after 16 tokens, as OpenAI's does."""
    reply = "one two three four five six seven eight nine ten eleven twelve"
    async with gateway(reply=reply) as server:
        _, default = await post(server, {"prompt": PROMPT})
        _, null = await post(server, {"prompt": PROMPT, "max_tokens": None})
        _, longer = await post(server, {"prompt": PROMPT, "max_tokens": 100})

    for body in (default, null):
        assert body["usage"]["completion_tokens"] == 16
        assert body["choices"][0]["finish_reason"] == "length"
    assert longer["choices"][0]["text"] == reply


async def test_no_tokens_can_be_asked_for(gateway: Any) -> None:
    """With max_tokens 0 nothing is written: the prompts are counted and, with echo, sent back."""
    async with gateway(reply="Yes.") as server:
        _, normal = await post(server, {"prompt": PROMPT})
        _, body = await post(server, {"prompt": PROMPT, "max_tokens": 0, "echo": True, "n": 2})
        streamed = await pieces(server, {"prompt": PROMPT, "max_tokens": 0, "echo": True})

        assert len(server.backend.requests) == 1
    assert [choice["text"] for choice in body["choices"]] == [PROMPT, PROMPT]
    assert {choice["finish_reason"] for choice in body["choices"]} == {"length"}
    assert body["usage"]["prompt_tokens"] == normal["usage"]["prompt_tokens"]
    assert body["usage"]["completion_tokens"] == 0
    assert [piece["choices"][0]["text"] for piece in streamed] == [PROMPT, ""]


async def test_echo_puts_the_prompt_first(gateway: Any) -> None:
    """With echo the text is the prompt and what follows, in a stream too."""
    async with gateway(reply=" Blue.") as server:
        _, whole = await post(server, {"prompt": [PROMPT, OTHER], "echo": True})
        streamed = await pieces(server, {"prompt": PROMPT, "echo": True})

    assert [choice["text"] for choice in whole["choices"]] == [f"{PROMPT} Blue.", f"{OTHER} Blue."]
    assert "".join(piece["choices"][0]["text"] for piece in streamed) == f"{PROMPT} Blue."


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"stop": "two"}, lambda text, reason: (text, reason) == ("One ", "stop")),
        ({"stop": ["zzz", "three"]}, lambda text, reason: text == "One two "),
        ({"max_tokens": 1}, lambda text, reason: (text, reason) == ("One", "length")),
    ],
)
async def test_parameters_change_the_answer(gateway: Any, changes: Any, check: Any) -> None:
    """What the API reference promises of a parameter shows in the answer."""
    async with gateway(reply="One two three.") as server:
        _, body = await post(server, {"prompt": PROMPT, **changes})

    choice = body["choices"][0]
    assert check(choice["text"], choice["finish_reason"]), choice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.3),
        ("top_p", 0.4),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -2),
        ("seed", 7),
        ("user", "me"),
        ("suffix", "the end"),
    ],
)
async def test_parameters_reach_the_backend(gateway: Any, name: str, value: Any) -> None:
    """Sampling parameters get through as they were sent."""
    async with gateway() as server:
        status, _ = await post(server, {"prompt": PROMPT, name: value})

        assert status == 200
        assert getattr(server.backend.requests[-1], name) == value


async def test_a_backend_knows_whether_it_is_read_as_it_writes(gateway: Any) -> None:
    """An answer that is sent whole may come from the backend in one piece."""
    async with gateway(reply="Yes.") as server:
        await post(server, {"prompt": PROMPT})
        await pieces(server, {"prompt": PROMPT})

        assert [request.stream for request in server.backend.requests] == [False, True]


async def test_clients_are_met_with_leniency(gateway: Any) -> None:
    """Unknown fields, nulls, best_of 0 and biases of no token are no errors."""
    body = {
        "prompt": None,
        "best_of": 0,
        "logit_bias": {"foo": 0, "50256": -100},
        "stop": None,
        "n": None,
        "suffix": None,
        "logprobs": None,
        "stream_options": {"include_usage": True},
        "something_new": {"deep": [1]},
    }
    async with gateway() as server:
        status, answer = await post(server, body)

        assert status == 200, answer
        assert server.backend.requests[-1].logit_bias == {50256: -100}
        assert server.backend.requests[-1].messages[0].content == ""


async def test_logprobs_list_the_tokens(gateway: Any) -> None:
    """Each list has one item a token, alternatives include the chosen one, offsets fit the text."""
    async with gateway(reply="Blue, I 认为.") as server:
        _, body = await post(server, {"prompt": PROMPT, "logprobs": 2})

    text, logprobs = body["choices"][0]["text"], body["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == text
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert text[offset:].startswith(token)
    for token, logprob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[token] == logprob <= 0
        assert len(top) == 2


async def test_streamed_logprobs_are_those_of_the_answer(gateway: Any) -> None:
    """The lists of all pieces joined are the lists of the whole answer; echo moves the offsets."""
    body = {"prompt": PROMPT, "logprobs": 0, "echo": True}
    async with gateway(reply="One two three.") as server:
        _, whole = await post(server, body)
        streamed = await pieces(server, body)

    expected = whole["choices"][0]["logprobs"]
    told = [piece["choices"][0]["logprobs"] for piece in streamed if piece["choices"][0]["logprobs"]]
    for name in ("tokens", "token_logprobs", "text_offset"):
        assert [item for part in told for item in part[name]] == expected[name]
    assert expected["top_logprobs"] is None
    assert expected["text_offset"][0] == len(PROMPT)
    assert expected["tokens"] == tokenize("One two three.")


async def test_tokens_inside_a_character_are_written_as_bytes(around: Any) -> None:
    """A token that is no text by itself is shown by its bytes and begins where its character does."""
    async with around(Fragments("logprobs")) as server:
        _, body = await post(server, {"prompt": PROMPT, "logprobs": 1})

    logprobs = body["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", r"bytes:\xc3", r"bytes:\xa9", "b"]
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    assert logprobs["top_logprobs"][2] == {r"bytes:\xaa": -1.5, r"bytes:\xa9": -2.0}


async def test_the_best_are_chosen_by_their_logprobs(around: Any) -> None:
    """best_of writes more answers than n and shows those whose tokens were likeliest; all are counted."""
    async with around(Lucky("logprobs")) as server:
        _, body = await post(server, {"prompt": PROMPT, "n": 2, "best_of": 5})

    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "2"), (1, "4")]
    assert [choice["logprobs"] for choice in body["choices"]] == [None, None]
    assert body["usage"]["completion_tokens"] == 5


async def test_answers_keep_their_order(around: Any) -> None:
    """Without best_of an answer's index is its number, however likely its tokens were."""
    async with around(Lucky("logprobs")) as server:
        _, body = await post(server, {"prompt": PROMPT, "n": 3, "logprobs": 0})

    assert [choice["text"] for choice in body["choices"]] == ["1", "2", "3"]


async def test_a_suffix_reaches_a_backend_that_fills_in(gateway: Any) -> None:
    """Text before and after go to the backend as they are: no documents, one path."""
    async with gateway() as server:
        status, body = await post(
            server,
            {"prompt": PROMPT, "suffix": "THE END", "max_tokens": 50, "openkimi": {"documents": []}},
        )

        assert status == 200
        assert len(server.backend.requests) == 1
    assert body["choices"][0]["text"] == "The sky is blue. [suffix=THE END]"
    assert body["openkimi"]["compressed"] is False


async def test_what_is_filled_in_is_never_cut(gateway: Any, speech: str) -> None:
    """Text around a gap that is larger than the window is an error: passages of it would make no sense."""
    async with gateway(context_length=2000) as server:
        error = await refused(server, {"prompt": speech, "suffix": "x"})

    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


async def test_an_empty_suffix_is_no_demand(around: Any) -> None:
    """Editors send an empty suffix at the end of a file; a model that cannot fill in answers all the same."""
    async with around(Fragments()) as server:
        status, _ = await post(server, {"prompt": PROMPT, "suffix": ""})

    assert status == 200


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"suffix": "the end"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
    ],
)
async def test_what_a_backend_cannot_do_is_refused_by_name(around: Any, changes: Any, param: str) -> None:
    """A parameter that would change the answer and cannot be served is a 400, never dropped."""
    async with around(Fragments()) as server:
        error = await refused(server, {"prompt": PROMPT, **changes})

    assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert f"'{param}'" in error["message"]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"echo": True, "logprobs": 1}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 0}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [[1], 2]}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": [1.5]}, "prompt[0]"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [10**30]}, "prompt"),
        ({"prompt": ["a"] * 100, "n": 100}, "prompt"),
        ({"suffix": "x", "openkimi": {"documents": ["doc_1"]}}, "openkimi.documents"),
        ({"suffix": "x", "openkimi": {"mpr": {"candidates": 2}}}, "openkimi.mpr"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(gateway: Any, changes: Any, param: str) -> None:
    """A wrong value is a 400 that names the field, before anything is generated."""
    async with gateway() as server:
        error = await refused(server, {"prompt": PROMPT, **changes})

        assert error["type"] == "invalid_request_error"
        assert error["param"] == param
        assert server.backend.requests == []


async def test_a_prompt_is_required(gateway: Any) -> None:
    """A body without a prompt, as of a chat, is an error that says so."""
    async with gateway() as server:
        error = await refused(server, {"messages": [{"role": "user", "content": "Hello?"}]})

    assert (error["param"], error["code"]) == ("prompt", "missing_required_parameter")


async def test_token_ids_are_read_as_openais(gateway: Any) -> None:
    """OpenAI's clients make ids of cl100k_base: one list is a prompt, several are several."""
    async with gateway(reply="!") as server:
        _, one = await post(server, {"prompt": [15339, 1917], "echo": True})
        _, two = await post(server, {"prompt": [[15339], [3574, 244, 98220]], "echo": True})

    assert [choice["text"] for choice in one["choices"]] == ["hello world!"]
    assert [choice["text"] for choice in two["choices"]] == ["hello!", "世界!"]


async def test_an_error_in_a_stream_is_an_event(gateway: Any) -> None:
    """What fails after the first piece ends the stream with an error and without [DONE]."""
    async with gateway(reply="One two three.", fail_after=3) as server:
        events = await lines(server, {"prompt": PROMPT})

    assert json.loads(events[-1].removeprefix("data: "))["error"]["type"] == "server_error"


async def test_openkimis_own_options_work(gateway: Any) -> None:
    """Documents by id and several paths are asked for as in a chat."""
    async with gateway(reply="Yes.") as server:
        status, body = await post(server, {"prompt": PROMPT, "openkimi": {"mpr": {"candidates": 3}}})
        missing, error = await post(server, {"prompt": PROMPT, "openkimi": {"documents": ["doc_none"]}})

    assert (status, body["openkimi"]["paths"]) == (200, 3)
    assert (missing, error["error"]["param"]) == (404, "openkimi.documents")


async def test_openais_client_completes(gateway: Any) -> None:
    """The openai package reads whole and streamed completions."""
    async with gateway(reply="Größe: 你好 😀") as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            whole = await client.completions.create(model="any", prompt="Größe? 😀", echo=True)
            stream = await client.completions.create(model="any", prompt="Größe?", stream=True)
            streamed = "".join([piece.choices[0].text async for piece in stream])

    assert whole.choices[0].text == "Größe? 😀Größe: 你好 😀"
    assert streamed == "Größe: 你好 😀"
