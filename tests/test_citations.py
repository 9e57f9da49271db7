"""Citations: whole, streamed, over several answers and paths, each quote exactly what the caller sent."""

import asyncio
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openkimi import Document, GenerateRequest, ImagePart, KimiEngine, Message, TextPart
from openkimi.receipt import Receipt
from openkimi.turn import Ask

FILLER = "The river flows through the plain and the boats go by in the morning light. " * 60
FACT = "The lighthouse keeper of Port Arden is called Orlando Finch."
BOOK = f"{FILLER}\n\n{FACT}\n\n{FILLER}"
QUESTION = "What is the lighthouse keeper called?"
GOOD, BAD = "He is called Orlando Finch.", "He was born in Lisbon on a rainy Tuesday."


def engine_of(held: Any, **rag: Any) -> KimiEngine:
    return KimiEngine(
        plugins=[held],
        llm_config={"type": "held"},
        rag_config={"type": "held", "embedding_model": "held", **rag},
    )


def about(*texts: str | tuple[Any, ...], question: str = QUESTION, **changes: Any) -> Ask:
    messages = [Message(role="user", content=text) for text in texts]
    asked = Message(role="user", content=question)
    return Ask(request=GenerateRequest(messages=(*messages, asked)), **changes)


async def receipts_of(engine: KimiEngine, ask: Ask) -> list[Receipt]:
    return [event async for event in engine.answer(ask) if isinstance(event, Receipt)]


def assert_exact(receipt: Receipt, ask: Ask) -> None:
    """Check that each quote is, by its offsets, what stands in the message that it names."""
    assert receipt.citations
    for citation in receipt.citations:
        assert citation.message is not None
        text = ask.request.messages[citation.message].text
        assert text[citation.start : citation.end] == citation.quote


async def test_what_the_answer_says_is_cited_and_what_it_makes_up_is_not(held: Any) -> None:
    """Each sentence of the answer has its citation by offsets, or is listed as unsupported."""
    answer = f"{GOOD} {BAD}"
    ask = about(BOOK)

    async with engine_of(held(context_length=1024, reply=answer)) as engine:
        first, last = await receipts_of(engine, ask)

    [citation] = last.citations
    [unsupported] = last.unsupported
    assert (first.citations, first.unsupported) == ((), ())
    assert answer[citation.answer_start : citation.answer_end] == GOOD
    assert answer[unsupported.answer_start : unsupported.answer_end] == BAD
    assert citation.quote == FACT
    assert (citation.document, citation.message) == (last.documents[0].id, 0)
    assert_exact(last, ask)


@pytest.mark.parametrize(
    ("fact", "question", "answer"),
    [
        ("守塔人名叫林远山，他养了十二只山羊。", "守塔人名叫什么？", "守塔人名叫林远山。"),
        ("😀🏳️‍🌈 The keeper is called Orlando Finch.", QUESTION, "Orlando Finch"),
        (
            unicodedata.normalize("NFD", "Le gardien est Rémi Éloïse Duprée."),
            "Le gardien?",
            "Rémi Éloïse Duprée",
        ),
        ("The keeper\r\nis called\tOrlando Finch.", QUESTION, "Orlando Finch"),
    ],
)
async def test_offsets_are_code_points_of_the_text_as_sent(
    held: Any, fact: str, question: str, answer: str
) -> None:
    """Chinese, emoji, combining characters and odd line ends do not move a quote."""
    text = f"Introduction 😀\n\n{FILLER}\n\n{fact}\n\n{FILLER}"
    ask = about(text, question=question)

    async with engine_of(held(context_length=1024, reply=answer)) as engine:
        receipt = (await receipts_of(engine, ask))[-1]

    assert_exact(receipt, ask)
    assert any(fact.endswith(citation.quote) for citation in receipt.citations)


async def test_each_quote_names_the_message_it_stands_in(held: Any) -> None:
    """Two documents, one of them in parts beside an image, are told apart."""
    other = f"{FILLER}\n\nThe harbour master of Port Arden is called Ada Lovell.\n\n{FILLER}"
    parts = (TextPart(text="A letter."), ImagePart(url="data:,"), TextPart(text=other))
    ask = about(BOOK, parts, question="Who are the lighthouse keeper and the harbour master of Port Arden?")

    async with engine_of(held(context_length=2048, reply="Orlando Finch. Ada Lovell.")) as engine:
        receipt = (await receipts_of(engine, ask))[-1]

    assert [citation.message for citation in receipt.citations] == [0, 1]
    assert_exact(receipt, ask)


async def test_a_stored_document_is_quoted_by_its_own_offsets(held: Any) -> None:
    """Where no message holds the text, the offsets are those of the stored document."""
    plugin = held(reply=GOOD)

    async with engine_of(plugin) as engine:
        stored = await engine.ingest(BOOK)
        receipt = (await receipts_of(engine, about(documents=(stored,))))[-1]
        text = await plugin.retriever.text(stored)

    [citation] = receipt.citations
    assert (citation.document, citation.message) == (stored, None)
    assert text[citation.start : citation.end] == citation.quote == FACT


async def test_old_turns_of_a_conversation_are_quoted_where_they_stood(held: Any) -> None:
    """A transcript is made of them, but a quote names the message that the caller sent."""
    said = [
        ("user", "Tell me of Port Arden."),
        ("assistant", FACT),
        *(
            ("user" if number % 2 == 0 else "assistant", f"Boats, part {number}. " * 12)
            for number in range(30)
        ),
        ("user", QUESTION),
    ]
    messages = tuple(Message(role=role, content=text) for role, text in said)
    ask = Ask(request=GenerateRequest(messages=messages))

    async with engine_of(held(context_length=1024, reply=GOOD)) as engine:
        receipt = (await receipts_of(engine, ask))[-1]

    [citation] = receipt.citations
    assert (citation.message, citation.start, citation.quote) == (1, 0, FACT)
    assert_exact(receipt, ask)


async def test_several_answers_are_cited_by_number(held: Any) -> None:
    """With `n`, the last receipt has the citations of all answers."""
    async with engine_of(held(context_length=1024, reply=GOOD)) as engine:
        receipt = (await receipts_of(engine, about(BOOK, n=3)))[-1]

    assert sorted(citation.choice for citation in receipt.citations) == [0, 1, 2]
    assert {citation.quote for citation in receipt.citations} == {FACT}


async def test_the_answer_of_several_paths_is_cited(held: Any) -> None:
    """With MPR the one answer that is given is cited, and the agreement stays in the receipt."""
    ask = about(BOOK, mpr_candidates=3)

    async with engine_of(held(context_length=1024, reply=GOOD)) as engine:
        receipt = (await receipts_of(engine, ask))[-1]

    assert receipt.agreement == 1.0
    assert [citation.choice for citation in receipt.citations] == [0]
    assert_exact(receipt, ask)


@pytest.mark.parametrize("ask", [about("A short note."), about(BOOK, citations=False)])
async def test_nothing_is_cited_of_an_unchanged_prompt_or_where_nobody_asks(held: Any, ask: Ask) -> None:
    """There is one receipt, without citations and without sentences that lack them."""
    async with engine_of(held(context_length=1024, reply=GOOD)) as engine:
        [receipt] = await receipts_of(engine, ask)

    assert (receipt.citations, receipt.unsupported) == ((), ())


async def test_citations_that_fail_harm_no_answer(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes whole, and its receipt goes without."""

    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("openkimi.citing.cite", broken)
    async with engine_of(held(context_length=1024, reply=GOOD)) as engine:
        events = [event async for event in engine.answer(about(BOOK))]

    assert "".join(event.content for event in events if not isinstance(event, Receipt)) == GOOD
    assert not next(event for event in reversed(events) if isinstance(event, Receipt)).citations


async def test_a_quote_that_is_not_in_the_callers_text_is_left_out(held: Any) -> None:
    """Half of a surrogate pair is stored as U+FFFD, so what holds one cannot be quoted to the character."""
    ask = about(BOOK.replace("Orlando Finch", "Orlando\ud800 Finch"))

    async with engine_of(held(context_length=1024, reply=GOOD)) as engine:
        receipt = (await receipts_of(engine, ask))[-1]

    assert receipt.citations == ()
    assert len(receipt.unsupported) == 1


async def test_the_receipt_tells_dense_from_retrieved_and_what_was_left_out(held: Any, speech: str) -> None:
    """The passages of both kinds and what is left out make up the document."""
    plugin = held(context_length=32_768, parameters=8_000_000_000)
    ask = about(speech, question="How many displaced persons remained in Germany?")

    async with engine_of(plugin, max_context_tokens=8000) as engine:
        receipt = (await receipts_of(engine, ask))[0]

    [document] = receipt.documents
    parts = (receipt.dense, receipt.retrieved, receipt.left_out)
    assert {passage.kind for passage in receipt.passages} == {"dense", "retrieved"}
    assert all((passage.kind == "dense") == (passage.lexical is None) for passage in receipt.passages)
    assert sum(part.characters for part in parts) == document.characters
    assert sum(part.chunks for part in parts) == document.chunks
    assert sum(part.tokens for part in parts) == document.tokens
    assert receipt.dense.chunks + receipt.retrieved.chunks == len(receipt.passages)
    counted = sum(await plugin.backend.count_tokens([speech]))
    assert abs(document.tokens - counted) < 0.15 * counted


async def test_the_receipt_knows_the_size_and_name_of_a_stored_document(held: Any) -> None:
    """Where the text did not come with the request, the memory tells."""
    plugin = held(reply=GOOD)
    document = Document.of(BOOK, name="port-arden.txt", kept=True)

    async with engine_of(plugin) as engine:
        opened = await engine._ready()
        await opened.memory.remember(document, "anonymous")
        receipt = (await receipts_of(engine, about(documents=(document.id,))))[0]

    [told] = receipt.documents
    assert (told.id, told.name, told.characters) == (document.id, "port-arden.txt", len(BOOK))
    assert 0 < told.kept_characters == receipt.retrieved.characters < len(BOOK)


WORDS = st.sampled_from(
    [
        "Finch",
        "Orlando",
        "1851",
        "灯塔",
        "守塔人",
        "é",
        "e\u0301",
        "😀",
        "👩‍👩‍👧",
        "\r\n",
        "\n\n",
        ". ",
        "。",
        "\t",
        "the keeper",
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=40).map(" ".join).map(lambda text: text * 30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), answer=st.lists(WORDS, max_size=20).map(" ".join))
def test_every_quote_is_what_the_caller_sent(held: Any, texts: list[str], answer: str) -> None:
    """Whatever is sent and answered, offsets cut quotes out of messages and sentences out of the answer."""
    ask = about(*texts)

    async def check() -> None:
        plugin = held(context_length=700, reply=answer)
        async with engine_of(plugin) as engine:
            receipt = (await receipts_of(engine, ask))[-1]
        for span in (*receipt.citations, *receipt.unsupported):
            assert 0 <= span.answer_start < span.answer_end <= len(answer)
        for citation in receipt.citations:
            text = (
                await plugin.retriever.text(citation.document)
                if citation.message is None
                else ask.request.messages[citation.message].text
            )
            assert text[citation.start : citation.end] == citation.quote

    asyncio.run(check())
