"""Explanations: the very prompt that would be sent, and why each passage is in it or not."""

from typing import Any

import msgspec
import pytest

from openkimi import ContextOverflow, Document, GenerateRequest, KimiEngine, Message, Tool
from openkimi.testing import InMemoryRetriever
from openkimi.turn import Ask

QUESTION = "How many displaced persons still remained in the United States zone of Germany?"


def engine_of(held: Any, **rag: Any) -> KimiEngine:
    return KimiEngine(
        plugins=[held],
        llm_config={"type": "held"},
        rag_config={"type": "held", "embedding_model": "held", **rag},
    )


def about(text: str, question: str = QUESTION, **changes: Any) -> Ask:
    messages = (Message(role="system", content=text), Message(role="user", content=question))
    return Ask(request=GenerateRequest(messages=messages, max_tokens=50, seed=7), **changes)


async def drain(engine: KimiEngine, ask: Ask) -> None:
    async for _ in engine.answer(ask):
        pass


@pytest.mark.parametrize("paths", [1, 3])
async def test_the_prompt_is_the_one_that_the_model_gets(held: Any, speech: str, paths: int) -> None:
    """Path by path the explained request is the one a backend receives, and the model is not asked."""
    plugin = held(context_length=8192, parameters=8_000_000_000)
    ask = about(speech, mpr_candidates=paths)

    async with engine_of(plugin) as engine:
        explanation = await engine.explain(ask)
        asked = list(plugin.backend.requests)
        await drain(engine, ask)

    assert asked == []
    got = [msgspec.structs.replace(request, share=None) for request in plugin.backend.requests]
    assert [path.request for path in explanation.paths] == sorted(got, key=lambda request: request.seed)


async def test_every_passage_has_its_fate(held: Any, speech: str) -> None:
    """What is in the prompt is what the receipt lists; the rest did not fit, and all ranks are told."""
    plugin = held(context_length=8192, parameters=8_000_000_000)

    async with engine_of(plugin) as engine:
        explanation = await engine.explain(about(speech))

    inside = {hit.start for hit in explanation.hits if hit.fates == ("in_prompt",)}
    assert inside == {passage.start for passage in explanation.receipt.passages}
    assert {hit.fates for hit in explanation.hits} >= {("in_prompt",), ("no_room",)}
    ranked = [hit for hit in explanation.hits if hit.rank is not None]
    assert [hit.rank for hit in ranked] == list(range(1, explanation.found + 1))
    assert all(hit.kind == "dense" for hit in explanation.hits if hit.rank is None)
    assert all(speech[hit.start : hit.end] == hit.text for hit in explanation.hits)
    assert explanation.paths[0].order == tuple(range(1, explanation.found + 1))


async def test_passages_beyond_top_k_are_told_from_those_without_room(held: Any, speech: str) -> None:
    """With rag.top_k the passages behind the last that was taken are there no matter how small."""
    async with engine_of(held(), top_k=2, max_context_tokens=1000) as engine:
        explanation = await engine.explain(about(speech))

    fates = [hit.fates[0] for hit in explanation.hits]
    assert fates.count("in_prompt") == 2
    assert fates[-1] == "top_k"


async def test_only_so_many_hits_are_told(held: Any, speech: str) -> None:
    """The limit bounds the hits and the orders; the number found stays what it is."""
    async with engine_of(held(), max_context_tokens=1000) as engine:
        whole = await engine.explain(about(speech))
        few = await engine.explain(about(speech), limit=3)

    assert few.found == whole.found > 3
    assert few.hits == whole.hits[:3]
    assert few.paths[0].order == (1, 2, 3)


async def test_an_unchanged_request_says_why(held: Any) -> None:
    """What fits goes on as it is, with nothing found and nothing in scope."""
    ask = about("Be brief.", "Hello?")

    async with engine_of(held()) as engine:
        explanation = await engine.explain(ask)

    assert "unchanged" in explanation.reason
    assert explanation.paths[0].request.messages == ask.request.messages
    assert (explanation.hits, explanation.documents, explanation.found) == ((), (), 0)


async def test_a_stored_document_without_relevant_passages_says_so(held: Any) -> None:
    """A preloaded document that has nothing to do with the question is listed, its hits as not relevant."""
    plugin = held()
    document = Document.of("The bakery opens at seven. Bread is sold. " * 40, name="bakery.txt")

    class Distant(InMemoryRetriever):
        async def search(self, query: Any) -> Any:
            import msgspec

            hits = await super().search(query)
            return [msgspec.structs.replace(hit, similarity=0.0) for hit in hits]

    plugin.retriever = Distant()
    async with engine_of(plugin) as engine:
        opened = await engine._ready()
        await opened.memory.remember(document, "anonymous")
        engine._scope[document.id] = None
        explanation = await engine.explain(about("Be brief.", "Is the sea blue?"))

    [told] = explanation.documents
    assert (told.id, told.name, told.state, told.kept_characters) == (document.id, "bakery.txt", "ready", 0)
    assert "relevant" in explanation.reason
    assert explanation.hits
    assert {hit.fates for hit in explanation.hits} == {("not_relevant",)}


async def test_what_cannot_be_answered_cannot_be_explained(held: Any) -> None:
    """The errors are those of an answer."""
    tools = tuple(Tool(name=f"tool_{number}", description="words " * 20) for number in range(50))
    request = GenerateRequest(messages=(Message(role="user", content="Hello?"),), tools=tools)

    async with engine_of(held(context_length=512)) as engine:
        with pytest.raises(ContextOverflow, match="shorten"):
            await engine.explain(Ask(request=request))


async def test_the_budget_adds_up(held: Any, speech: str) -> None:
    """Prompt and answer share the window; context and core stay within it, as do the prompts."""
    async with engine_of(held(context_length=4096), max_context_tokens=700) as engine:
        explanation = await engine.explain(about(speech))

    budget = explanation.budget
    assert budget.prompt + budget.answer == budget.window == 4096
    assert budget.context == 700
    assert explanation.paths[0].context_tokens <= 700
    assert explanation.paths[0].prompt_tokens <= budget.prompt
