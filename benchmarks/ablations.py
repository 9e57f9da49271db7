"""OpenKimi with parts taken away, one at a time, to see what each is worth."""

from __future__ import annotations

import asyncio
import importlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
from questions import Question
from recorder import Recorder
from vectors import kept_embeddings

from openkimi import GenerateRequest, KimiEngine, Message
from openkimi.turn import Ask

_NEVER = 10**9
METHODS = ("compression", "word", "ngram", "structural", "weighted", "semantic")


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """OpenKimi with other options, or with other values in the named places ``module:attribute``.

    ``restored`` are places whose values show in what is stored.
    """

    name: str
    processor: Mapping[str, Any] = {}
    rag: Mapping[str, Any] = {}
    places: Mapping[str, Any] = {}
    restored: Mapping[str, Any] = {}

    @property
    def store(self) -> str:
        """The name of the store, shared by variants that store the same."""
        return json.dumps([dict(self.processor), sorted(self.restored)])


async def _no_question(*_: Any) -> None:
    return None


def _without_densities() -> Any:
    from openkimi_lancedb.chunktable import ChunkTable

    original = ChunkTable.__init__

    def init(self: ChunkTable, table: Any, densities: Any, postings: Any) -> None:
        original(self, table, np.zeros_like(densities), postings)

    return init


def variants() -> list[Variant]:
    core = "openkimi.budget:_CORE_FROM"
    weight = "openkimi_lancedb.lexical:lexical_weight"
    sentences = "openkimi_lancedb.retriever:weigh"
    return [
        Variant(name="everything"),
        Variant(name="reranked by e5, as long as it takes", rag={"rerank_ms": 600_000}),
        Variant(name="whole passages, not sentences", places={sentences: lambda *_: ()}),
        Variant(name="headings not searched", restored={"openkimi_lancedb.terms:_HEADING_WEIGHT": 0}),
        Variant(name="no neighbours' words", places={"openkimi_lancedb.ranking:_WINDOW_WEIGHT": 0.0}),
        Variant(name="rrf_k 60", rag={"rrf_k": 60}),
        Variant(name="words and meaning weigh the same", places={weight: lambda *_: 1.0}),
        Variant(name="words only", places={"openkimi_lancedb.embedding:Embedding.question": _no_question}),
        Variant(name="meaning only", places={"openkimi_lancedb.retriever:query_terms": lambda _: []}),
        Variant(
            name="density breaks no ties",
            places={"openkimi_lancedb.chunktable:ChunkTable.__init__": _without_densities()},
        ),
        Variant(name="no dense core", places={core: _NEVER}),
        *(
            Variant(
                name=f"core of an eighth, {method}", processor={"entropy_method": method}, places={core: 0}
            )
            for method in METHODS
        ),
        Variant(name="chunks of 300 characters", processor={"chunk_characters": 300}),
        Variant(name="chunks of 1,200 characters", processor={"chunk_characters": 1200}),
    ]


async def ablate(
    recorder: Recorder, books: Mapping[str, str], asked: Sequence[Question], budgets: Sequence[int]
) -> AsyncIterator[tuple[str, int, list[tuple[Question, str]]]]:
    """Yield each variant and budget with the questions and the prompts that they got."""
    with tempfile.TemporaryDirectory() as folder, kept_embeddings():
        stores: dict[str, Path] = {}
        for variant in variants():
            path = stores.setdefault(variant.store, Path(folder, str(len(stores))))
            with changed({**variant.places, **variant.restored}):
                for budget in budgets:
                    rag = {**variant.rag, "path": str(path), "max_context_tokens": budget}
                    engine = KimiEngine(
                        llm_config=recorder.llm, processor_config=variant.processor, rag_config=rag
                    )
                    async with engine:
                        await _store(engine, books, recorder)
                        prompts = [
                            (question, await _ask(engine, books[question.doc], question.question, recorder))
                            for question in asked
                        ]
                    yield variant.name, budget, prompts


async def _store(engine: KimiEngine, books: Mapping[str, str], recorder: Recorder) -> None:
    for text in books.values():
        await _ask(engine, text, "What is this about?", recorder)
    while any(info.state != "ready" for info in await engine.documents()):
        await asyncio.sleep(0.2)


async def _ask(engine: KimiEngine, text: str, question: str, recorder: Recorder) -> str:
    messages = (Message(role="system", content=text), Message(role="user", content=question))
    async with aclosing(engine.answer(Ask(request=GenerateRequest(messages=messages)))) as events:
        async for _ in events:
            pass
    return recorder.prompt


@contextmanager
def changed(places: Mapping[str, Any]) -> Iterator[None]:
    """Put other values in some places ``module:attribute`` for a while."""
    if not places:
        yield
        return
    (place, value), *others = places.items()
    module, _, path = place.partition(":")
    owner, _, name = path.rpartition(".")
    holder = importlib.import_module(module)
    with patch.object(attrgetter(owner)(holder) if owner else holder, name, value), changed(dict(others)):
        yield
