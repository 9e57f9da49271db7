"""Questions about the whole of a text, from the engine's side."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from openkimi import BackendError, Delta, GenerateRequest, KimiEngine, Message, Progress, RequestError
from openkimi.receipt import Receipt
from openkimi.turn import Ask
from openkimi.wording import says_nothing


def engine_of(held: Any, **rag: Any) -> KimiEngine:
    return KimiEngine(
        plugins=[held],
        llm_config={"type": "held"},
        rag_config={"type": "held", "embedding_model": "held", **rag},
    )


def about(text: str, question: str, **changes: Any) -> Ask:
    messages = (Message(role="system", content=text), Message(role="user", content=question))
    return Ask(request=GenerateRequest(messages=messages), **changes)


class Outcome:
    """What came of an ask, by kind."""

    def __init__(self, events: list[Any]) -> None:
        self.receipts = [event for event in events if isinstance(event, Receipt)]
        self.progress = [event for event in events if isinstance(event, Progress)]
        deltas = [event for event in events if isinstance(event, Delta)]
        self.text = "".join(delta.content for delta in deltas)
        self.usage = deltas[-1].usage


async def outcome(engine: KimiEngine, ask: Ask) -> Outcome:
    return Outcome([event async for event in engine.answer(ask)])


def prompts_of(plugin: Any) -> list[str]:
    return [request.messages[-1].text for request in plugin.backend.requests]


async def test_a_summary_covers_the_text(held: Any, speech: str) -> None:
    """Its passages come from all quarters, and search is not what finds them."""
    plugin = held(context_length=4096)

    async with engine_of(plugin, max_context_tokens=1000) as engine:
        receipt, *_ = (await outcome(engine, about(speech, "Please summarise the speech."))).receipts

    assert receipt.mode == "summary"
    assert {passage.start * 4 // len(speech) for passage in receipt.passages} == {0, 1, 2, 3}
    assert len(receipt.passages) > 15
    assert 700 < receipt.context_tokens <= 1000


@pytest.mark.parametrize(
    ("request_", "several"), [("Summarise this text.", False), ("Summarise both texts.", True)]
)
async def test_a_summary_covers_the_text_that_came_with_it(
    held: Any, speech: str, request_: str, several: bool
) -> None:
    """Of two texts in a conversation the one it stands beside, unless both are asked for."""
    ships = "\n\n".join(f"Ship {number} sails to harbour {number % 17}." for number in range(2000))
    messages = (
        Message(role="user", content=f"{speech}\n\nWhat is this about?"),
        Message(role="assistant", content="The state of the union."),
        Message(role="user", content=f"On ships\n\n{ships}\n\n{request_}"),
    )

    async with engine_of(held(context_length=4096), max_context_tokens=1000) as engine:
        ask = Ask(request=GenerateRequest(messages=messages))
        receipt, *_ = (await outcome(engine, ask)).receipts

    assert receipt.mode == "summary"
    assert len({passage.document for passage in receipt.passages}) == (2 if several else 1)


async def test_an_enumeration_gathers_all_mentions(held: Any, speech: str) -> None:
    """Every place that has the word is in the prompt, while there is room."""
    plugin = held(context_length=8192)

    async with engine_of(plugin, max_context_tokens=2000) as engine:
        receipt, *_ = (
            await outcome(engine, about(speech, 'How often does the word "atomic" occur?'))
        ).receipts

    assert receipt.mode == "enumeration"
    read = plugin.backend.requests[-1].messages[0].text.lower()
    assert read.count("atomic") == speech.lower().count("atomic")


async def test_a_comparison_has_both_sides(held: Any) -> None:
    """Also where one side fills the text and the other stands in one place."""
    plugin = held(context_length=4096)
    text = "\n\n".join(f"The tenant has duty number {at}, and the tenant pays {at}." for at in range(500))
    text += "\n\nA landlord owes heat.\n\n"

    async with engine_of(plugin, max_context_tokens=500) as engine:
        receipt, *_ = (await outcome(engine, about(text, "Compare the tenant with a landlord."))).receipts

    assert receipt.mode == "comparison"
    read = plugin.backend.requests[-1].messages[0].text
    assert "A landlord owes heat." in read
    assert "The tenant has duty" in read


async def test_a_caller_chooses_the_mode(held: Any, speech: str) -> None:
    """``passages`` searches whatever is asked, ``whole`` covers whatever is asked."""
    async with engine_of(held(context_length=4096)) as engine:
        searched = await outcome(engine, about(speech, "Summarise the speech.", mode="passages"))
        covered = await outcome(engine, about(speech, "What is the debt limit?", mode="whole"))

    assert [receipt.mode for receipt in (searched.receipts[-1], covered.receipts[-1])] == [
        "passages",
        "summary",
    ]


async def test_what_fits_is_unchanged_in_every_mode(held: Any) -> None:
    """A text that the window holds is read by the model itself."""
    plugin = held()

    async with engine_of(plugin) as engine:
        for mode in ("auto", "passages", "whole", "exhaustive"):
            receipt, *_ = (await outcome(engine, about("A short text.", "Summarise it.", mode=mode))).receipts
            assert (receipt.compressed, receipt.mode) == (False, None)

    assert prompts_of(plugin) == ["Summarise it."] * 4


async def test_a_preloaded_text_is_summarised_only_when_there_is_nothing_else(
    held: Any, speech: str, tmp_path: Path
) -> None:
    """'Summarise this' in a conversation is about the conversation."""
    path = tmp_path / "speech.txt"
    path.write_text(speech, "utf-8")
    plugin = held(context_length=8192)
    engine = engine_of(plugin)
    engine._overrides["preload"] = [str(path)]
    alone = (Message(role="user", content="Summarise the book."),)
    talk = (Message(role="user", content="Zxq qzx."), Message(role="assistant", content="Qqq."), *alone)

    async with engine:
        one, *_ = (await outcome(engine, Ask(request=GenerateRequest(messages=alone)))).receipts
        other, *_ = (await outcome(engine, Ask(request=GenerateRequest(messages=talk)))).receipts

    assert one.mode == "summary"
    assert other.mode != "summary"


async def test_everything_is_read_once_and_answered_from_notes(held: Any, speech: str) -> None:
    """Each part of the text is shown to the model, in order; the last prompt has the notes."""
    plugin = held(context_length=8192)

    async with engine_of(plugin) as engine:
        done = await outcome(engine, about(speech, "How many displaced persons remained?", mode="exhaustive"))

    *parts, _last = prompts_of(plugin)
    head = plugin.backend.requests[-1].messages[0].text
    shown = "".join((head + "".join(parts)).split())
    assert all("".join(line.split()) in shown for line in speech.split("\n") if len(line) < 200)
    assert len(parts) == done.progress[0].total
    assert "[1] " in plugin.backend.requests[-1].messages[0].text


async def test_the_cost_is_told_before_the_first_call_and_counted_after(held: Any, speech: str) -> None:
    """The first event has the calls and tokens, the last delta what all of them used."""
    plugin = held(context_length=8192)

    async with engine_of(plugin) as engine:
        events = engine.answer(about(speech, "How many?", mode="exhaustive"))
        first, second = await anext(events), await anext(events)
        asked_before = len(plugin.backend.requests)
        done = Outcome([first, second, *[event async for event in events]])

    assert asked_before == 0
    planned, final, *_ = done.receipts
    assert (planned.mode, planned.prompt_tokens) == ("exhaustive", 0)
    assert done.progress[0].calls == planned.calls == final.calls >= len(plugin.backend.requests)
    assert done.progress[0].tokens == planned.read_tokens
    assert done.usage is not None
    spent = sum(event.spent.prompt_tokens for event in done.progress if event.spent)
    assert done.usage.prompt_tokens == spent + final.prompt_tokens
    assert abs(spent - planned.read_tokens) < planned.read_tokens * 0.05
    assert final.passages
    assert final.documents[0].kept_characters > 0


async def test_notes_that_do_not_fit_are_condensed_in_rounds(held: Any, speech: str) -> None:
    """The last prompt stays within the budget, and no more calls are made than were told."""
    plugin = held(context_length=1024, reply="word " * 200)

    async with engine_of(plugin, max_context_tokens=400, exhaustive_max_calls=999) as engine:
        done = await outcome(engine, about(speech, "What?", mode="exhaustive"))

    stages = [progress.stage for progress in done.progress]
    assert stages.count("condensing") > 1
    assert len(plugin.backend.requests) <= done.receipts[0].calls
    assert done.receipts[-1].context_tokens <= 400


async def test_parts_with_nothing_leave_no_notes(held: Any, speech: str) -> None:
    """Where no part helps, the model is told so."""
    plugin = held(context_length=8192, reply="NOTHING.")

    async with engine_of(plugin) as engine:
        done = await outcome(engine, about(speech, "Who is Zaphod?", mode="exhaustive"))

    assert "nothing in it was found" in plugin.backend.requests[-1].messages[0].text
    assert done.receipts[-1].passages == ()


@pytest.mark.parametrize(
    "note", ["NOTHING", "Nothing.", "**Nothing**", "None", "无", "无。", "没有相关内容。", ""]
)
def test_nothing_is_recognised(note: str) -> None:
    """Models say it in their own ways."""
    assert says_nothing(note)


@pytest.mark.parametrize(
    "note",
    [
        "No. 7 was sold in 1946.",
        "Nothing but 3 ships remained.",
        "The text does not name him, but says that he was the treasurer.",
        "No relevant law was changed, which left the limit at 300 billion.",
        "无锡在江苏。",
    ],
)
def test_something_is_not_taken_for_nothing(note: str) -> None:
    """A fact may begin with the same word."""
    assert not says_nothing(note)


async def test_too_many_calls_are_refused_before_any_is_made(held: Any, speech: str) -> None:
    """The error says how many it would take; the smaller of both bounds holds."""
    plugin = held(context_length=8192)

    async with engine_of(plugin, exhaustive_max_calls=10) as engine:
        for limit, name in ((None, "rag.exhaustive_max_calls"), (5, "openkimi.max_calls"), (99, "rag.")):
            with pytest.raises(RequestError, match=r"takes up to 1\d answers") as raised:
                await outcome(engine, about(speech, "What?", mode="exhaustive", max_calls=limit))
            assert name in raised.value.message
            assert raised.value.code == "too_many_calls"

    assert plugin.backend.requests == []


@pytest.mark.parametrize(("change", "param"), [({"n": 2}, "n"), ({"mpr_candidates": 3}, "openkimi.mpr")])
async def test_several_answers_to_a_reading_are_refused(
    held: Any, speech: str, change: dict[str, int], param: str
) -> None:
    """One reading gives one answer."""
    async with engine_of(held()) as engine:
        with pytest.raises(RequestError) as raised:
            await outcome(engine, about(speech, "What?", mode="exhaustive", **change))

    assert raised.value.param == param


async def test_leaving_ends_the_reading(held: Any, speech: str) -> None:
    """Closing the answer stops the calls that run, and no further one is made."""
    plugin = held(context_length=8192, token_delay=0.01, concurrency=2)

    async with engine_of(plugin) as engine:
        events = engine.answer(about(speech, "What?", mode="exhaustive"))
        async for event in events:
            if isinstance(event, Progress) and event.done:
                break
        await events.aclose()
        asked = len(plugin.backend.requests)
        await asyncio.sleep(0.05)

        assert plugin.backend.active == 0
        assert len(plugin.backend.requests) == asked < 16
    assert plugin.backend.peak == 2


async def test_a_failing_model_fails_the_reading(held: Any, speech: str) -> None:
    """The first error is the answer's, and the other calls end."""
    plugin = held(context_length=8192, fail_before="broken")

    async with engine_of(plugin) as engine:
        with pytest.raises(BackendError, match="broken"):
            await outcome(engine, about(speech, "What?", mode="exhaustive"))

    assert plugin.backend.active == 0


async def test_settings_of_the_request_hold_for_the_answer_alone(held: Any, speech: str) -> None:
    """Tools, formats and stops would spoil notes."""
    plugin = held(context_length=8192)
    ask = about(speech, "What?", mode="exhaustive")
    ask = Ask(
        request=GenerateRequest(messages=ask.request.messages, stop=("the",), temperature=0.7, max_tokens=50),
        mode="exhaustive",
    )

    async with engine_of(plugin) as engine:
        await outcome(engine, ask)

    *notes, last = plugin.backend.requests
    assert {(request.stop, request.temperature) for request in notes} == {((), 0.0)}
    assert (last.stop, last.temperature, last.max_tokens) == (("the",), 0.7, 50)


async def test_a_reading_is_logged_without_text(held: Any, speech: str) -> None:
    """An operator sees what an expensive request costs."""
    async with engine_of(held(context_length=8192)) as engine:
        with structlog.testing.capture_logs() as logged:
            await outcome(engine, about(speech, "Zanzibar?", mode="exhaustive"))

    [line] = [entry for entry in logged if entry["event"] == "reading"]
    assert (line["log_level"], line["parts"]) == ("info", 16)
    assert "Zanzibar" not in str([entry for entry in logged if entry["log_level"] == "info"])


async def test_a_question_in_chinese_is_read_in_chinese(held: Any, speech: str) -> None:
    """The model is told what to do in the language of the question."""
    plugin = held(context_length=8192, reply="无")

    async with engine_of(plugin) as engine:
        await outcome(engine, about(speech, "有多少人？", mode="exhaustive"))

    assert prompts_of(plugin)[0].startswith("一篇长文的第 1 部分")
    assert "没有发现与问题有关的内容" in plugin.backend.requests[-1].messages[0].text


async def test_an_answer_from_notes_is_cited_from_the_text(held: Any) -> None:
    """What the model reads in parts is quoted to the character, and what reading costs can be explained."""
    filler = "The river flows through the plain and the boats go by in the morning light. " * 60
    fact = "The lighthouse keeper of Port Arden is called Orlando Finch."
    ask = about(f"{filler}\n\n{fact}\n\n{filler}", "What is the keeper called?", mode="exhaustive")
    plugin = held(context_length=1024, reply="Orlando Finch.")

    async with engine_of(plugin) as engine:
        explanation = await engine.explain(ask)
        asked_before = len(plugin.backend.requests)
        receipt = (await outcome(engine, ask)).receipts[-1]

    assert (asked_before, explanation.paths) == (0, ())
    assert f"at most {receipt.calls} answers" in explanation.reason
    [citation] = receipt.citations
    text = ask.request.messages[citation.message].text
    assert text[citation.start : citation.end] == citation.quote == fact


async def test_a_stored_document_is_read_without_being_sent(held: Any, speech: str) -> None:
    """A request that names a document has all of it read, and nothing of others."""
    plugin = held(context_length=8192)
    other = "Zanzibar is an island.\n\n" * 200
    asked = GenerateRequest(messages=(Message(role="user", content="What is promised?"),))

    async with engine_of(plugin) as engine:
        document = await engine.ingest(speech)
        await engine.ingest(other)
        done = await outcome(engine, Ask(request=asked, mode="exhaustive", documents=(document,)))

    assert {passage.document for passage in done.receipts[-1].passages} == {document}
    assert not any("Zanzibar" in prompt for prompt in prompts_of(plugin))


@pytest.mark.parametrize(
    ("question", "mode"),
    [
        ("List all harbours mentioned.", "auto"),
        ("Summarise the text.", "auto"),
        ("What is in them?", "exhaustive"),
    ],
)
async def test_a_document_that_is_deleted_meanwhile_takes_nothing_from_others(
    held: Any, question: str, mode: Any
) -> None:
    """Who deletes one of two documents does not fail a request that has begun with both."""
    plugin = held(context_length=2048)
    asked = GenerateRequest(messages=(Message(role="user", content=question),))
    get, doomed = plugin.retriever.get, set[str]()

    async def get_and_delete(document_id: str, **options: Any) -> Any:
        known = await get(document_id, **options)
        if document_id in doomed:
            await plugin.retriever.delete(document_id)
        return known

    plugin.retriever.get = get_and_delete
    async with engine_of(plugin, max_context_tokens=300) as engine:
        left = (await engine.store("The harbour lies in the north. " * 30)).id
        gone = (await engine.store("The harbour of the market lies in the south. " * 30)).id
        doomed.add(gone)
        done = await outcome(engine, Ask(request=asked, documents=(gone, left), mode=mode))

    assert {passage.document for passage in done.receipts[-1].passages} == {left}


async def test_mentions_in_what_nobody_asked_for_count_where_a_search_finds_something(
    held: Any, tmp_path: Path
) -> None:
    """A common word in a preloaded text does not answer a question about something else."""
    path = tmp_path / "engine.txt"
    path.write_text("There are ideas about a fifth boiler.\n\n" + "Boilers are cleaned. " * 50, "utf-8")
    plugin = held(context_length=4096)
    search, similarity = plugin.retriever.search, 0.1

    async def search_by_meaning(query: Any) -> Any:
        hits = await search(query)
        return [msgspec.structs.replace(hit, similarity=similarity) for hit in hits]

    plugin.retriever.search = search_by_meaning
    engine = engine_of(plugin)
    engine._overrides["preload"] = [str(path)]
    asked = GenerateRequest(messages=(Message(role="user", content="List all ideas for a birthday party."),))

    async with engine:
        far = await outcome(engine, Ask(request=asked))
        similarity = 0.5
        near = await outcome(engine, Ask(request=asked))

    assert [done.receipts[-1].compressed for done in (far, near)] == [False, True]
    assert near.receipts[-1].mode == "enumeration"


async def test_the_scores_of_an_enumeration_follow_the_order_of_its_passages(held: Any, speech: str) -> None:
    """Mentions and what a search found have one scale."""
    async with engine_of(held(context_length=8192), max_context_tokens=2000) as engine:
        explained = await engine.explain(about(speech, 'How often does the word "atomic" occur?'))

    scores = [hit.score for hit in explained.hits if hit.rank is not None]
    assert len(scores) > 20
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] <= 0.1


async def test_whole_documents_are_read_up_to_a_bound(
    held: Any, speech: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is read in any case; of the others those that fit beside it."""
    monkeypatch.setattr("openkimi.finding._MOST_CHARACTERS", 100_000)
    asked = GenerateRequest(messages=(Message(role="user", content="Summarise the text."),))

    async with engine_of(held(context_length=4096)) as engine:
        first = (await engine.store(speech)).id
        second = (await engine.store("Zanzibar is an island.\n\n" * 100)).id
        for order in ((first, second), (second, first)):
            done = await outcome(engine, Ask(request=asked, documents=order))
            assert {passage.document for passage in done.receipts[-1].passages} == {order[0]}
