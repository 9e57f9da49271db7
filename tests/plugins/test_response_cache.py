"""The response cache: the same request of the same caller costs the model nothing the second time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from openkimi import BackendWrapper, Delta, GenerateRequest, ImagePart, KimiEngine, Message, TextPart, Usage
from openkimi.api.app import create_app
from openkimi.testing import serving
from openkimi_response_cache.answers import Answers
from openkimi_response_cache.backend import CachingBackend
from openkimi_response_cache.key import key_of

HEADER = "x-openkimi-cache"
FEATURES = frozenset({"seed"})
ASKED = GenerateRequest(
    messages=(Message(role="user", content="Hello?"),), temperature=0, tenant="ada", max_tokens=9
)


def hello(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello?"}], "temperature": 0, **fields}


class Cached:
    """A gateway with the cache on, and the model behind it."""

    def __init__(self, backend: Any, http: aiohttp.ClientSession) -> None:
        self.backend, self.http = backend, http

    @property
    def asked(self) -> int:
        """How many requests reached the model."""
        return len(self.backend.requests)

    async def post(self, body: Any, path: str = "/v1/chat/completions", key: str = "") -> tuple[Any, str]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.post(path, json=body, headers=headers) as response:
            answer = await (response.text() if body.get("stream") else response.json())
            return answer, response.headers.get(HEADER, "")


@pytest.fixture
def cached(held: Any) -> Any:
    """Make a gateway: ``async with cached(options={...}, server={...}, reply="Yes.") as gateway``."""

    @asynccontextmanager
    async def start(
        options: Any = None, server: Any = None, mpr: Any = None, plugin: Any = None, **script: Any
    ) -> AsyncIterator[Cached]:
        plugin = plugin or held(**script)
        engine = KimiEngine(
            plugins=[plugin],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
        )
        chosen = {"enabled": True, **(options or {})}
        engine._overrides |= {"plugins": {"options": {"response_cache": chosen}}, "server": server or {}}
        engine._overrides["mpr"] = mpr or {}
        async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:
            yield Cached(plugin.backend, http)

    return start


def content(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


async def test_the_same_request_is_answered_from_memory(cached: Any) -> None:
    """The second answer is the first, the model is not asked again, and the caller is told."""
    async with cached(reply="Yes, it is.") as gateway:
        first, miss = await gateway.post(hello())
        second, hit = await gateway.post(hello())

        assert (miss, hit, gateway.asked) == ("miss", "hit", 1)
    assert content(first) == content(second) == "Yes, it is."
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == second["usage"]["prompt_tokens"]
    assert first["usage"]["total_tokens"] == second["usage"]["total_tokens"]
    assert first["id"] != second["id"]


async def test_a_stream_is_replayed_as_a_stream(cached: Any) -> None:
    """Chunk by chunk as it came; a whole answer and a stream serve each other."""
    async with cached(reply="One two three four.") as gateway:
        first, miss = await gateway.post(hello(stream=True))
        second, hit = await gateway.post(hello(stream=True))
        whole, also = await gateway.post(hello())

        assert (miss, hit, also, gateway.asked) == ("miss", "hit", "hit", 1)
    assert first.count("data: ") == second.count("data: ") > 5
    assert second.endswith("data: [DONE]\n\n")
    assert content(whole) == "One two three four."


async def test_what_means_the_same_is_the_same(cached: Any) -> None:
    """It is what the model would be asked that counts, not how the body is written, nor by which route."""
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}]
    async with cached() as gateway:
        await gateway.post(hello(max_tokens=20, stop="x"))
        for same in (
            hello(max_completion_tokens=20, stop=["x"], model="another", user="someone"),
            hello(messages=parts, max_tokens=20, stop=["x"], stream=True),
        ):
            assert (await gateway.post(same))[1] == "hit"
        for other in (hello(max_tokens=21, stop="x"), hello(max_tokens=20), hello(max_tokens=20, stop="y")):
            assert (await gateway.post(other))[1] == "miss"


async def test_chance_is_left_its_say(cached: Any) -> None:
    """Without temperature 0 or a seed nothing is looked up, and there is no header."""
    async with cached() as gateway:
        for body in (hello(temperature=1), hello(temperature=1)):
            assert (await gateway.post(body))[1] == ""
        for header in ("miss", "hit"):
            assert (await gateway.post(hello(temperature=1, seed=7)))[1] == header

        assert gateway.asked == 3


async def test_callers_do_not_share(cached: Any) -> None:
    """Each key's answers are its own."""
    keys = {"ada": "sk-0123456789abcdef", "bob": "sk-fedcba9876543210"}
    server = {"api_keys": [{"name": name, "key": key} for name, key in keys.items()]}

    async with cached(server=server) as gateway:
        seen = [(await gateway.post(hello(), key=keys[name]))[1] for name in ("ada", "bob", "ada", "bob")]

        assert (seen, gateway.asked) == (["miss", "miss", "hit", "hit"], 2)


async def test_a_document_that_changes_changes_the_request(cached: Any, held: Any) -> None:
    """What is retrieved stands in the prompt: another text has another answer, one that is gone has none."""
    async with cached(plugin=held(context_length=4096)) as gateway:

        async def store(text: str) -> str:
            answer, _ = await gateway.post({"text": text, "name": "book"}, "/v1/documents")
            return str(answer["id"])

        def about(*ids: str) -> dict[str, Any]:
            messages = [{"role": "user", "content": "Who is the harbour master?"}]
            return hello(messages=messages, openkimi={"documents": list(ids)})

        old = await store("The harbour master is Ines Vidal.")
        assert "Ines Vidal" in content((await gateway.post(about(old)))[0])
        assert (await gateway.post(about(old)))[1] == "hit"
        new = await store("The harbour master is Tom Rowe.")
        answer, header = await gateway.post(about(new))
        assert ("Tom Rowe" in content(answer), header) == (True, "miss")
        async with gateway.http.delete(f"/v1/documents/{old}"):
            pass
        gone, header = await gateway.post(about(old))

    assert (gone["error"]["code"], header) == ("document_not_found", "")


async def test_several_paths_are_remembered_each(cached: Any) -> None:
    """With reasoning over several paths a hit means that none of them was walked again."""
    body = hello(seed=3, temperature=0.5, openkimi={"mpr": {"candidates": 3}})
    async with cached(mpr={"early_stop": False, "gate": False}) as gateway:
        first, _ = await gateway.post(body)
        asked = gateway.asked
        second, header = await gateway.post(body)

        assert (header, gateway.asked) == ("hit", asked)
    assert content(first) == content(second)


@pytest.mark.parametrize("script", [{"fail_before": "no"}, {"fail_after": 1, "reply": "one two three"}])
async def test_what_failed_is_not_kept(cached: Any, script: Any) -> None:
    """An error is no answer: the model is asked again."""
    async with cached(**script) as gateway:
        for _ in range(2):
            assert "error" in (await gateway.post(hello()))[0]

        assert gateway.asked == 2


async def test_whose_caller_left_is_not_kept(held: Any) -> None:
    """Half an answer is none."""
    inside = held(reply="one two three").backend
    backend = CachingBackend(inside, Answers(most_bytes=10_000, seconds=None))

    steps = backend.generate(ASKED)
    await anext(steps)
    await steps.aclose()  # type: ignore[attr-defined]
    whole = [delta async for delta in backend.generate(ASKED)]

    assert "".join(delta.content for delta in whole) == "one two three"
    assert (len(inside.requests), inside.cancelled) == (2, 1)


async def test_an_answer_that_the_model_did_not_count_is_counted(held: Any) -> None:
    """From memory its prompt is told as cached, too."""

    class Uncounted(BackendWrapper):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            async for delta in self.backend.generate(request):
                yield msgspec.structs.replace(delta, usage=None)

    backend = CachingBackend(
        Uncounted(held(reply="one two").backend), Answers(most_bytes=10_000, seconds=None)
    )

    first = [delta async for delta in backend.generate(ASKED)]
    second = [delta async for delta in backend.generate(ASKED)]

    usage = second[-1].usage
    assert first[-1].usage is None
    assert usage is not None
    assert usage.cached_tokens == usage.prompt_tokens == await backend.count_prompt(ASKED)
    assert [usage.completion_tokens] == await backend.count_tokens(["one two"])


async def test_it_is_off_unless_it_is_chosen(cached: Any) -> None:
    """Without "enabled" nothing is kept and nothing is told."""
    async with cached(options={"enabled": False}) as gateway:
        assert [(await gateway.post(hello()))[1] for _ in range(2)] == ["", ""]
        assert gateway.asked == 2


def test_a_key_is_of_a_known_caller_and_of_what_is_certain() -> None:
    """Whose request it is is in the key; unknown callers, chance and images from an address have none."""

    def of(**changes: Any) -> bytes | None:
        return key_of(msgspec.structs.replace(ASKED, **changes), FEATURES)

    def image(url: str) -> tuple[Message, ...]:
        return (Message(role="user", content=(TextPart(text="What?"), ImagePart(url=url))),)

    assert of() == of(user="x", model="y", stream=False, share="z") != of(tenant="bob")
    assert of(tenant=None) is of(temperature=1.0) is of(messages=image("https://example.com/a.png")) is None
    assert of(messages=image("data:image/png;base64,AA=="))
    assert key_of(msgspec.structs.replace(ASKED, temperature=1.0, seed=1), frozenset()) is None
    assert of(messages=(Message(role="user", content="\ud800"),)) is None


def answer(length: int) -> tuple[Delta, ...]:
    return Delta(content="x" * length), Delta(finish_reason="stop", usage=Usage(prompt_tokens=3))


def test_memory_is_bounded_and_the_least_used_go_first() -> None:
    """All answers together stay below the bound, and one that is larger alone is not kept."""
    answers = Answers(most_bytes=2000, seconds=None)

    for key in (b"a", b"b"):
        answers.put(key, answer(500))
    assert answers.get(b"a") == answer(500)
    answers.put(b"c", answer(500))
    answers.put(b"huge", answer(2000))
    answers.put(b"bad", (Delta(content="\ud800"), *answer(0)))

    assert answers.get(b"b") is answers.get(b"huge") is answers.get(b"bad") is None
    assert answers.get(b"a") == answers.get(b"c") == answer(500)
    assert answers.size <= 2000
    answers.put(b"a", answer(1))
    answers.put(b"c", answer(1))
    assert answers.size < 900


def test_answers_grow_old() -> None:
    """After the time to live the model is asked again."""
    now = 0.0
    answers = Answers(most_bytes=2000, seconds=60, clock=lambda: now)
    answers.put(b"a", answer(1))

    now = 59.0
    assert answers.get(b"a")
    now = 60.0
    assert answers.get(b"a") is None
    assert answers.size == 0


async def test_a_trim_forgets_the_answers_and_reaches_the_model(held: Any) -> None:
    """What was answered is asked of the model again, which lets go of what it can, too."""
    model, trimmed = held(reply="Yes.").backend, []

    async def trim() -> None:
        trimmed.append("model")

    model.trim = trim
    answers = Answers(most_bytes=10_000, seconds=None)
    backend = CachingBackend(model, answers)
    for _ in range(2):
        assert [delta async for delta in backend.generate(ASKED)]
    await backend.trim()
    assert [delta async for delta in backend.generate(ASKED)]

    assert (len(model.requests), trimmed) == (2, ["model"])
    assert answers.get(key_of(ASKED, FEATURES) or b"")
