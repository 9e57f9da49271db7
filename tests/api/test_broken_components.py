"""A component that breaks its contract is named, with what it gave and what to do, and harms no other.

Where an answer can be without it, the answer comes and its receipt says so; where not, the request fails.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from openkimi import (
    Candidate,
    Chunk,
    ContextSampler,
    Delta,
    Document,
    Embedder,
    Generate,
    Hit,
    Processor,
    Provider,
    Query,
    Synthesis,
    Synthesizer,
    hookimpl,
)
from openkimi.testing import HashingEmbedder, InMemoryRetriever, cut, gateway
from openkimi_scripted import ScriptedBackend, ScriptedOptions

SECRET = "Ines Vidal"
CONFIG = {
    "llm": {"type": "ours"},
    "embedder": {"type": "ours"},
    "processor": {"type": "ours"},
    "rag": {"type": "ours", "rerank_ms": 2000},
    "reranker": {"type": "reranking"},
    "mpr": {"sampling": "ours", "synthesis": "ours", "gate": False},
}


class OurProcessor(Processor):
    version = "1"  # type: ignore[assignment]

    async def process(self, document: Document) -> Sequence[Chunk]:
        return cut(document.text)[1]


class OurRetriever(InMemoryRetriever):
    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self._embedder = embedder

    async def search(self, query: Query) -> Sequence[Hit]:
        await self._embedder.embed([query.text], input_type="query")
        return await super().search(query)


class OurSampler(ContextSampler):
    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        return [(*hits[at:], *hits[:at]) for at in range(n)]


class OurSynthesizer(Synthesizer):
    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        return Synthesis(answer=said("written anew"), agreement=0.5)


async def said(content: Any) -> AsyncIterator[Delta]:
    yield Delta(content=content)
    yield Delta(finish_reason="stop")


class Ours:
    """A plugin with a kind ``ours`` of each role, and a reranker; ``spoil`` says what becomes of a result."""

    __name__ = "ours"

    def __init__(self) -> None:
        self.spoil: dict[tuple[str, str], Callable[[Any], Any]] = {}

    def offer(
        self, make: Callable[[Any], Any], role: str, *methods: str, kind: str = "ours"
    ) -> Provider[Any]:
        @asynccontextmanager
        async def opened(options: object, context: Any) -> AsyncIterator[Any]:
            component = make(context)
            component.__class__ = type(
                "Ours", (type(component),), {name: self._spoiled(component, role, name) for name in methods}
            )
            yield component

        return Provider(kind, opened)

    def _spoiled(self, component: Any, role: str, name: str) -> Any:
        good = getattr(type(component), name)

        def spoil(result: Any) -> Any:
            return self.spoil.get((role, name), lambda as_it_is: as_it_is)(result)

        async def later(own: Any, *args: Any, **options: Any) -> Any:
            return spoil(await good(own, *args, **options))

        def at_once(own: Any, *args: Any, **options: Any) -> Any:
            return spoil(good(own, *args, **options))

        return later if inspect.iscoroutinefunction(good) else at_once

    @hookimpl
    def register_backends(self) -> Any:
        options = ScriptedOptions(context_length=400)
        methods = ("generate", "count_tokens", "count_prompt")
        return [self.offer(lambda context: ScriptedBackend(options), "backend", *methods)]

    @hookimpl
    def register_embedders(self) -> Any:
        def make(context: Any) -> Embedder:
            return HashingEmbedder()

        yield self.offer(make, "embedder", "embed")
        yield self.offer(make, "reranker", "embed", kind="reranking")

    @hookimpl
    def register_processors(self) -> Any:
        return [self.offer(lambda context: OurProcessor(), "processor", "process")]

    @hookimpl
    def register_retrievers(self) -> Any:
        return [self.offer(lambda context: OurRetriever(context.embedder), "retriever", "search", "get")]

    @hookimpl
    def register_samplers(self) -> Any:
        return [self.offer(lambda context: OurSampler(), "sampler", "sample")]

    @hookimpl
    def register_synthesizers(self) -> Any:
        return [self.offer(lambda context: OurSynthesizer(), "synthesizer", "synthesize", "settled")]


def raising(result: Any) -> Any:
    if hasattr(result, "close"):
        result.close()
    raise ValueError(SECRET)


async def strings(made: AsyncIterator[Delta]) -> AsyncIterator[Any]:
    async for delta in made:
        yield delta.content


def each(**fields: Any) -> Callable[[AsyncIterator[Delta]], AsyncIterator[Any]]:
    """Change all steps of an answer."""

    async def change(made: AsyncIterator[Delta]) -> AsyncIterator[Any]:
        async for delta in made:
            yield msgspec.structs.replace(delta, **fields)

    return change


def first(**fields: Any) -> Callable[[Any], Any]:
    """Change the first of several things."""
    return lambda several: several and [msgspec.structs.replace(several[0], **fields), *several[1:]]


def orders(**fields: Any) -> Callable[[Any], Any]:
    return lambda several: [first(**fields)(order) for order in several]


def made(**fields: Any) -> Callable[[Any], Any]:
    return lambda synthesis: msgspec.structs.replace(synthesis, **fields)


FAILING = [
    ("retriever", "search", lambda hits: None, "not NoneType"),
    ("retriever", "search", lambda hits: {"hits": hits}, "not dict"),
    ("retriever", "search", lambda hits: [hit.chunk.text for hit in hits], "not list with str"),
    ("retriever", "search", first(document_id="doc_other"), "not a Hit in a document that was not asked for"),
    ("retriever", "search", first(score=float("nan")), "not a Hit with the score nan"),
    ("retriever", "search", first(score=SECRET), "not a Hit with the score str"),
    ("retriever", "search", first(chunk=SECRET), "not a Hit with str"),
    ("retriever", "get", lambda info: {"id": "doc"}, "not dict"),
    ("embedder", "embed", lambda vectors: vectors.tolist(), "float32, not list"),
    ("embedder", "embed", lambda vectors: vectors[:, :5], "(1, 64) of float32, not shape (1, 5) of float32"),
    ("embedder", "embed", lambda vectors: vectors.astype(np.float64), "not shape (1, 64) of float64"),
    ("embedder", "embed", lambda vectors: vectors * np.nan, "not with NaN or infinite numbers"),
    ("processor", "process", lambda chunks: None, "not NoneType"),
    ("processor", "process", lambda chunks: [chunk.text for chunk in chunks], "not list with str"),
    ("processor", "process", first(end=3), "not a Chunk from 0 to 3 with"),
    ("processor", "process", first(start=2**40, end=2**40, text=""), "not a Chunk from 1099511627776 to"),
    ("processor", "process", first(density=float("nan")), "not a Chunk with the density nan"),
    ("backend", "generate", strings, "yield openkimi.Delta objects, not str"),
    ("backend", "generate", lambda answer: [SECRET], "written with async def and yield, not list"),
    ("backend", "generate", each(content=None), "not a Delta with content NoneType"),
    ("backend", "generate", each(finish_reason=SECRET), "another finish_reason than stop, length"),
    ("backend", "generate", each(usage={"tokens": 1}), "not a Delta whose usage is dict"),
    ("backend", "count_tokens", lambda counts: counts[1:], "whole numbers, not "),
    ("backend", "count_tokens", lambda counts: None, "whole numbers, not NoneType"),
    ("backend", "count_tokens", lambda counts: [count / 2 for count in counts], "not list with float"),
    ("backend", "count_prompt", lambda count: -1, "a whole number, not -1"),
]
LEFT_OUT = [
    ("sampler", "sample", raising, "raised ValueError"),
    ("sampler", "sample", lambda several: None, "not NoneType"),
    ("sampler", "sample", lambda several: several[1:], "a list of 2 orders of the hits it is given, not 1"),
    ("sampler", "sample", lambda several: [[SECRET], []], "not one of list with str"),
    ("sampler", "sample", orders(document_id="doc_other"), "not one with a Hit that was not given"),
    ("synthesizer", "synthesize", raising, "raised ValueError"),
    ("synthesizer", "synthesize", lambda synthesis: SECRET, "an openkimi.Synthesis, not str"),
    ("synthesizer", "synthesize", made(agreement="high"), "not one with the agreement str"),
    ("synthesizer", "synthesize", made(dissenting=iter([1])), "one whose dissenting are list_iterator"),
    ("synthesizer", "synthesize", made(answer=SECRET), "async def and yield, not str"),
    ("synthesizer", "synthesize", lambda synthesis: Synthesis(answer=said(None)), "content NoneType"),
    ("reranker", "embed", raising, "raised ValueError"),
    ("reranker", "embed", lambda vectors: vectors.tolist(), "float32, not list"),
]
WHERE = {
    "backend": "llm.type",
    "embedder": "embedder.type",
    "processor": "processor.type",
    "retriever": "rag.type",
    "reranker": "reranker.type",
    "sampler": "mpr.sampling",
    "synthesizer": "mpr.synthesis",
}


def about(number: int) -> dict[str, Any]:
    """Ask about a document that does not fit the window, over two paths."""
    yard = f"of {SECRET} in harbour {number}"
    text = "\n\n".join(f"Ship {at} was built in {1500 + at} at the yard {yard}. " * 3 for at in range(20))
    messages = [{"role": "system", "content": text}, {"role": "user", "content": "When was ship 7 built?"}]
    return {"messages": messages, "openkimi": {"mpr": {"candidates": 2}}}


async def try_all(cases: Sequence[Any]) -> list[Any]:
    """Ask one gateway twice for each case, and then as if nothing was the matter."""
    plugin = Ours()
    outcomes = []
    async with gateway(CONFIG, plugins=[plugin]) as url, aiohttp.ClientSession(url) as http:

        async def ask(number: int) -> Any:
            async with http.post("/v1/chat/completions", json=about(number)) as response:
                return response.status, await response.json()

        for number, (role, method, spoil, _) in enumerate(cases):
            plugin.spoil = {(role, method): spoil}
            with capture_logs() as logs:
                answers = [await ask(number), await ask(number)]
            async with http.get("/v1/plugins") as response:
                plugins = {each["id"]: each for each in (await response.json())["data"]}
            plugin.spoil = {}
            noted = [entry for entry in logs if entry["event"] in {"contract_broken", "plugin_raised"}]
            shown = [entry for entry in logs if entry["log_level"] != "debug"]
            outcomes.append((answers, plugins["ours"], noted, shown, await ask(number)))
    return outcomes


@pytest.fixture(scope="module")
def outcomes() -> list[Any]:
    """What came of every case, in one gateway."""
    return asyncio.run(try_all([*FAILING, *LEFT_OUT]))


CASES = list(enumerate([*FAILING, *LEFT_OUT]))


@pytest.mark.parametrize(("number", "case"), CASES, ids=[f"{case[0]} {case[3]}" for _, case in CASES])
def test_a_component_that_breaks_its_contract_is_named(outcomes: list[Any], number: int, case: Any) -> None:
    """In the answer or its receipt, in the list of plugins and once in the log; the next answer is whole."""
    role, method, _, given = case
    [(status, body), (again, _)], report, noted, shown, (healthy, after) = outcomes[number]

    assert (healthy, after["choices"][0]["message"]["content"]) == (200, "written anew")
    assert after["openkimi"]["degraded"] == []
    if case in FAILING:
        assert status == again == (502 if role in {"backend", "embedder"} else 500)
        told = body["error"]["message"]
        assert {entry["at"] for entry in shown if entry["event"] == "request_failed"} == {f"Ours.{method}"}
        assert f"{WHERE[role]}: the {role} 'ours' breaks its contract: Ours.{method} must " in told
    else:
        assert status == again == 200
        [left_out] = body["openkimi"]["degraded"]
        assert left_out["stage"] == role
        told = left_out["reason"]
        assert body["choices"][0]["message"]["content"] or role == "reranker"
    for text in (told, report["reason"], noted[0]["what"]):
        assert f"Ours.{method} " in text
        assert given in text
    assert report["remedy"] == f"tell the plugin's author, or choose another {WHERE[role]}"
    assert (report["state"], len(noted), noted[0]["plugin"]) == ("loaded", 1, "ours")
    assert SECRET not in f"{told}{report}{shown}"


async def test_embeddings_of_another_shape_are_not_handed_out() -> None:
    """The embedder is held to its contract whoever asks it."""
    plugin = Ours()
    plugin.spoil = {("embedder", "embed"): lambda vectors: vectors[0]}
    async with gateway(CONFIG, plugins=[plugin]) as url, aiohttp.ClientSession(url) as http:
        async with http.post("/v1/embeddings", json={"model": "any", "input": SECRET}) as response:
            status, error = response.status, (await response.json())["error"]

    assert (status, error["type"], error["code"]) == (502, "server_error", "backend_error")
    assert "must return a numpy array of shape (1, 64) of float32, not shape (64,)" in error["message"]


class Waiting(Ours):
    """A plugin one of whose methods does not come to its end."""

    __name__ = "ours"
    waits = ""

    def _spoiled(self, component: Any, role: str, name: str) -> Any:
        good = super()._spoiled(component, role, name)

        async def later(own: Any, *args: Any, **options: Any) -> Any:
            if name == self.waits:
                await asyncio.Event().wait()
            return await good(own, *args, **options)

        return later if inspect.iscoroutinefunction(good) else good


@pytest.mark.parametrize(
    ("role", "method", "place"),
    [("retriever", "search", "rag.type"), ("processor", "process", "processor.type")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_whose_time_is_over_names_what_it_waited_for(
    role: str, method: str, place: str, stream: bool
) -> None:
    """It is not the model, also where the work is done in a task of its own; the plugin's report has it."""
    plugin = Waiting()
    plugin.waits = method
    config = {**CONFIG, "server": {"request_timeout": 0.7}}
    async with gateway(config, plugins=[plugin]) as url, aiohttp.ClientSession(url) as http:
        body = {**about(0), "stream": stream}
        with capture_logs() as logs:
            async with http.post("/v1/chat/completions", json=body) as response:
                status, error = response.status, (await response.json())["error"]["message"]
        async with http.get("/v1/plugins") as response:
            plugins = {each["id"]: each for each in (await response.json())["data"]}
    [noted] = [entry for entry in logs if entry["event"] == "waited_in_vain"]

    assert (status, "the model" in error) == (503, False)
    assert f"it was waiting for Ours.{method} of the {role} 'ours' ({place}); try again later" in error
    assert f"Ours.{method} was waited for" in plugins["ours"]["reason"]
    assert (noted["plugin"], noted["remedy"]) == ("ours", plugins["ours"]["remedy"])
    assert noted["remedy"].startswith("raise server.request_timeout, tell the plugin's author, or ")
