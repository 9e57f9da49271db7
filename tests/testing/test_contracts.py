"""The contract suites find what breaks a promise: each broken component fails the test of its promise."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from paragraphs import Paragraphs

from openkimi import (
    Backend,
    Candidate,
    Chunk,
    ContextSampler,
    Delta,
    Document,
    DocumentInfo,
    Generate,
    GenerateRequest,
    Hit,
    Message,
    Provider,
    Query,
    Synthesis,
    Synthesizer,
    Usage,
    Vectors,
)
from openkimi.testing import HashingEmbedder, InMemoryRetriever
from openkimi.testing.contracts import (
    BackendContract,
    Contract,
    EmbedderContract,
    ProcessorContract,
    RetrieverContract,
    SamplerContract,
    SynthesizerContract,
)
from openkimi_mpr.sampling import RelevanceSampler
from openkimi_scripted import ScriptedBackend, ScriptedOptions

HITS = [
    Hit(
        document_id="d",
        chunk=Chunk(key=str(n), text=f"Hit {n}.", start=n, end=n + 1, ordinal=n),
        score=1 - n / 9,
    )
    for n in range(9)
]


def try_on(suite: type[Contract], component: Callable[[], Any], test: str, folder: Path, *args: Any) -> None:
    """Run one test of a suite on a component."""

    @asynccontextmanager
    async def opened(options: object, context: object) -> AsyncIterator[Any]:
        yield component()

    tried = type("Tried", (suite,), {"provider": Provider("tried", opened)})()
    tried.folder, tried.patience, tried.soon, tried.longest_pause = folder, 3.0, 0.3, 0.2
    tried.setup_class()
    try:
        getattr(tried, test)(*args)
    finally:
        tried.teardown_class()


def fails(suite: type[Contract], component: Callable[[], Any], test: str, folder: Path, *args: Any) -> str:
    """Run a test that a component must fail by an assertion or a limit of time, and return what it says."""
    with pytest.raises((AssertionError, pytest.fail.Exception)) as failed:
        try_on(suite, component, test, folder, *args)
    return str(failed.value)


class Scripted(ScriptedBackend):
    def __init__(self, **options: Any) -> None:
        super().__init__(ScriptedOptions(reply="one two three four five six", **options))


class SaysNoReason(Scripted):
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        yield Delta(content="Hello")


class GoesOn(Scripted):
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        yield Delta(content="Hello", finish_reason="stop")
        yield Delta(content="there", finish_reason="stop")


class KeepsItsPlace(Scripted):
    """Takes one request at once, and frees the place only where the answer is read to its end."""

    concurrency = 1

    def __init__(self) -> None:
        super().__init__()
        self.concurrency = 1
        self._place = asyncio.Lock()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        await self._place.acquire()
        async for delta in super().generate(request):
            yield delta
        self._place.release()


class WillNotStop(Scripted):
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        for _ in range(20):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue
        yield Delta(finish_reason="stop", content="Late.")


class IgnoresTheLimit(Scripted):
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        async for delta in super().generate(msgspec.structs.replace(request, max_tokens=100)):
            yield delta


class CountsInTheLoop(Scripted):
    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        time.sleep(0.5 if sum(map(len, texts)) > 100_000 else 0)  # noqa: ASYNC251 - that is the point
        return await super().count_tokens(texts)


class Miscounts(Scripted):
    """Tells another number of tokens than it counted before."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        async for delta in super().generate(request):
            yield msgspec.structs.replace(delta, usage=delta.usage and Usage(prompt_tokens=1))


class Forgetful(Scripted):
    """Claims ``seed``, and answers as it likes."""

    _numbers = itertools.count()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        yield Delta(content=f"{next(self._numbers)}")
        yield Delta(finish_reason="stop")


class TrimmedShort(Scripted):
    """Breaks off what it is writing."""

    _trims = 0

    async def trim(self) -> None:
        self._trims += 1

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        trims = self._trims
        async for delta in super().generate(request):
            if trims == self._trims or delta.finish_reason:
                yield delta


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (SaysNoReason, "test_only_the_last_delta_has_a_reason"),
        (GoesOn, "test_only_the_last_delta_has_a_reason"),
        (KeepsItsPlace, "test_a_closed_stream_frees_what_it_held"),
        (KeepsItsPlace, "test_a_cancelled_request_stops_soon"),
        (WillNotStop, "test_a_cancelled_request_stops_soon"),
        (IgnoresTheLimit, "test_max_tokens_bounds_the_answer"),
        (CountsInTheLoop, "test_counting_a_book_holds_nobody_up"),
        (Miscounts, "test_usage_is_what_was_counted"),
        (Forgetful, "test_a_seed_repeats_an_answer"),
        (Forgetful, "test_a_schema_holds_the_answer"),
        (TrimmedShort, "test_a_trim_changes_no_answer"),
    ],
)
def test_a_broken_backend_is_found(broken: type[Backend], test: str, tmp_path: Path) -> None:
    """Reasons, places, cancelling, limits, counts, claims and trims are looked at."""
    fails(BackendContract, broken, test, tmp_path)


class Unscaled(HashingEmbedder):
    async def embed(self, texts: Sequence[str], **more: Any) -> Vectors:
        return 2 * await super().embed(texts, **more)


class Adrift(HashingEmbedder):
    """Gives the rows of several texts in another order."""

    async def embed(self, texts: Sequence[str], **more: Any) -> Vectors:
        return np.roll(await super().embed(texts, **more), 1, axis=0)


class NamedByChance(HashingEmbedder):
    @property
    def fingerprint(self) -> str:
        return str(id(self))


@pytest.mark.parametrize(
    ("broken", "test", "args"),
    [
        (Unscaled, "test_a_row_has_unit_length", ("A text.", "query")),
        (Adrift, "test_the_same_text_has_the_same_row", ()),
        (NamedByChance, "test_another_instance_has_the_same_rows", ()),
    ],
)
def test_a_broken_embedder_is_found(broken: Any, test: str, args: tuple[str, ...], tmp_path: Path) -> None:
    """Lengths, the order of rows and names that stay are looked at."""
    fails(EmbedderContract, broken, test, tmp_path, *args)


class Leaky(Paragraphs):
    """Loses the last passage."""

    async def process(self, document: Document) -> Sequence[Chunk]:
        return (await super().process(document))[:-1]


class Shifted(Paragraphs):
    async def process(self, document: Document) -> Sequence[Chunk]:
        chunks = await super().process(document)
        return [msgspec.structs.replace(chunk, start=chunk.start + 1) for chunk in chunks]


class Whimsical(Paragraphs):
    async def process(self, document: Document) -> Sequence[Chunk]:
        chunks = await super().process(document)
        return [msgspec.structs.replace(chunk, density=random.random()) for chunk in chunks]


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Leaky, "test_chunks_come_in_order_and_miss_nothing"),
        (Shifted, "test_chunks_are_passages_of_the_document"),
        (Whimsical, "test_the_same_document_gives_the_same_chunks"),
    ],
)
def test_a_broken_processor_is_found(broken: Any, test: str, tmp_path: Path) -> None:
    """Whether all is there, where it stands, and chance are looked at."""
    fails(ProcessorContract, broken, test, tmp_path, "One.\n\nTwo words.\n\nThree and more.")


class Indiscreet(InMemoryRetriever):
    """Shows a document to whoever knows its id."""

    async def search(self, query: Query) -> Sequence[Hit]:
        for tenant in {tenant for tenant, _ in self._documents}:
            query = msgspec.structs.replace(query, tenant=tenant)
        return await super().search(query)


class Global(InMemoryRetriever):
    """Ranks by how many documents there are."""

    async def search(self, query: Query) -> Sequence[Hit]:
        return [
            msgspec.structs.replace(hit, score=hit.score / len(self._documents))
            for hit in await super().search(query)
        ]


class Careless(InMemoryRetriever):
    """Forgets that a document was to be kept."""

    async def get(self, document_id: str, **more: Any) -> DocumentInfo | None:
        info = await super().get(document_id, **more)
        return info and msgspec.structs.replace(info, kept=False)


class Trimming(InMemoryRetriever):
    async def text(self, document_id: str, **more: Any) -> str:
        return (await super().text(document_id, **more)).strip()


class Generous(InMemoryRetriever):
    async def search(self, query: Query) -> Sequence[Hit]:
        return await super().search(msgspec.structs.replace(query, limit=100))


class Halfway(InMemoryRetriever):
    """Adds chunk by chunk, and stays where it was cancelled."""

    async def add(self, document: Document, chunks: Sequence[Chunk], **more: Any) -> None:
        for number in range(0, len(chunks) + 1, 100):
            await super().add(document, chunks[:number], **more)
            await asyncio.sleep(0.01)
        await super().add(document, chunks, **more)


class TrimmedBare(InMemoryRetriever):
    """Takes documents for something that can be made anew."""

    async def trim(self) -> None:
        self._documents.clear()


@pytest.mark.parametrize(
    ("broken", "test", "args"),
    [
        (Indiscreet, "test_another_tenant_sees_nothing", ("ben",)),
        (Global, "test_other_documents_change_no_ranking", ()),
        (Careless, "test_kept_stays_and_a_name_stays", ()),
        (Trimming, "test_a_text_comes_back_to_the_character", (" padded \n",)),
        (Generous, "test_no_more_hits_than_asked_for", ()),
        (Halfway, "test_a_cancelled_add_leaves_all_or_nothing", ()),
        (TrimmedBare, "test_a_trim_changes_no_search", ()),
        (TrimmedBare, "test_a_trim_loses_no_document", ()),
    ],
)
def test_a_broken_retriever_is_found(broken: Any, test: str, args: tuple[str, ...], tmp_path: Path) -> None:
    """Tenants, ranking, being kept, texts, limits, half-added documents and trims are looked at."""
    fails(RetrieverContract, broken, test, tmp_path, *args)


def test_a_retriever_fails_for_what_it_does(tmp_path: Path) -> None:
    """One that ranks by all documents fails the test of that, in short values, and no test of trims."""
    shown = fails(RetrieverContract, Global, "test_other_documents_change_no_ranking", tmp_path)

    assert re.search(r"\('doc_\w{8}', \d, [\d.]+\) != \('doc_\w{8}', \d, [\d.]+\)", shown)
    assert "Chunk(" not in shown
    for test in ("test_a_trim_changes_no_search", "test_a_trim_loses_no_document"):
        try_on(RetrieverContract, Global, test, tmp_path)


class Moody(ContextSampler):
    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        return [hits, *(random.sample(hits, len(hits)) for _ in range(n - 1))]


class Repetitive(RelevanceSampler):
    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        return [[*context, *context[:1]] for context in super().sample(hits, n, seed=seed)]


class Reversing(RelevanceSampler):
    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        return super().sample(hits, n, seed=seed)[::-1]


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Moody, "test_the_same_arguments_give_the_same_contexts"),
        (Repetitive, "test_contexts_are_made_of_the_hits"),
        (Reversing, "test_the_first_context_is_a_single_paths"),
    ],
)
def test_a_broken_sampler_is_found(broken: Any, test: str, tmp_path: Path) -> None:
    """Chance, repeats and the first context are looked at."""
    fails(SamplerContract, broken, test, tmp_path, HITS)


class First(Synthesizer):
    """Takes the first candidate, and calls it by its place."""

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        async def said() -> AsyncIterator[Delta]:
            yield Delta(content=candidates[0].text)
            yield Delta(finish_reason="stop")

        return Synthesis(answer=said(), chosen=0)


class Rewriting(Synthesizer):
    """Has everything written anew, and leaves the model to itself."""

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        messages = [Message(role="user", content=candidate.text) for candidate in candidates]

        async def written() -> AsyncIterator[Delta]:
            async for delta in generate(messages):
                yield delta

        return Synthesis(answer=written())


@pytest.mark.parametrize(
    ("broken", "test", "args"),
    [
        (First, "test_one_candidate_is_the_answer", ()),
        (Rewriting, "test_tool_calls_are_chosen_and_never_rewritten", ()),
        (Rewriting, "test_json_is_chosen_and_never_rewritten", ()),
        (Rewriting, "test_leaving_an_answer_stops_the_model", ([Candidate(index=0, text="Yes.")],)),
    ],
)
def test_a_broken_synthesizer_is_found(broken: Any, test: str, args: tuple[Any, ...], tmp_path: Path) -> None:
    """Indexes, what may not be rewritten, and a model that goes on are looked at."""
    fails(SynthesizerContract, broken, test, tmp_path, *args)


def test_each_promise_is_a_sentence() -> None:
    """The docstring of a test is the rule that it stands for."""
    suites = (
        BackendContract,
        EmbedderContract,
        ProcessorContract,
        RetrieverContract,
        SamplerContract,
        SynthesizerContract,
    )
    tests = {(suite, name) for suite in suites for name in dir(suite) if name.startswith("test_")}

    assert len(tests) > 100
    assert not [
        name for suite, name in tests if not (getattr(suite, name).__doc__ or "").strip().endswith(".")
    ]


def test_a_component_is_shared_where_its_class_says_so(tmp_path: Path) -> None:
    """``shared`` opens a component once for all tests and closes it at the end; else each has its own."""
    counted: dict[str, int] = {"opened": 0, "closed": 0}

    @asynccontextmanager
    async def opened(options: object, context: object) -> AsyncIterator[Any]:
        counted["opened"] += 1
        yield HashingEmbedder()
        counted["closed"] += 1

    for shared, times in ((True, 1), (False, 2)):
        counted.update(opened=0, closed=0)
        suite: Any = type(
            "Suite", (EmbedderContract,), {"provider": Provider("hashing", opened), "shared": shared}
        )()
        suite.setup_class()
        for test in ("test_it_opens", "test_a_text_is_nearest_to_itself"):
            getattr(suite, test)()
        suite.teardown_class()

        assert counted == {"opened": times, "closed": times}
