"""KimiEngine: the object that users of the library hold."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openkimi import (
    BackendUnavailable,
    ConfigError,
    DocumentNotFound,
    DocumentPreloaded,
    GenerateRequest,
    KimiEngine,
    Message,
    RequestError,
)
from openkimi.turn import Ask

QUESTION = "How many displaced persons still remained in the United States zone of Germany?"

LONG = GenerateRequest(
    messages=(
        Message(role="system", content="The harbour lies in the north. " * 100),
        Message(role="user", content="Where is it?"),
    )
)


def engine_of(held: Any, **options: Any) -> KimiEngine:
    return KimiEngine(
        plugins=[held],
        llm_config={"type": "held"},
        rag_config={"type": "held", "embedding_model": "held"},
        **options,
    )


def test_the_constructor_does_no_io(tmp_path: Path) -> None:
    """An engine on a config that is not there fails when it opens, not before."""
    engine = KimiEngine(config_path=tmp_path / "nowhere.json")

    with pytest.raises(ConfigError, match="no such file"):
        asyncio.run(engine.open())


async def test_it_answers_from_what_it_ingested(held: Any, speech: str) -> None:
    """ingest returns the document's id, chat answers from the document."""
    plugin = held(context_length=4096)

    async with engine_of(plugin) as engine:
        document_id = await engine.ingest(speech)
        answer = await engine.chat(QUESTION)

    prompt = "\n".join(message.text for message in plugin.backend.requests[-1].messages)
    assert prompt.count("460,000") == 1
    assert document_id.startswith("doc_")
    assert "460,000" in answer


async def test_a_stream_is_the_same_answer_in_pieces(held: Any, speech: str) -> None:
    """stream_chat yields more than one piece, that join to what chat returns."""
    plugin = held(context_length=4096)

    async with engine_of(plugin) as one, engine_of(plugin) as two:
        await one.ingest(speech)
        await two.ingest(speech)
        pieces = [piece async for piece in one.stream_chat(QUESTION)]
        whole = await two.chat(QUESTION)

    assert len(pieces) > 1
    assert "".join(pieces) == whole


async def test_a_conversation_is_remembered_until_reset(held: Any, speech: str) -> None:
    """The model sees what was said before, and nothing of it after reset."""
    plugin = held(reply="Yes.")

    async with engine_of(plugin) as engine:
        await engine.ingest(speech)
        await engine.chat("First?")
        await engine.chat("Second?")
        before = [message.text for message in plugin.backend.requests[-1].messages]
        await engine.reset()
        await engine.chat("Third?")
        after = [message.text for message in plugin.backend.requests[-1].messages]

    assert before[-3:] == ["First?", "Yes.", "Second?"]
    assert after == ["Third?"]


async def test_it_opens_once_for_all_who_ask_at_the_same_time(held: Any) -> None:
    """Ten first requests load the model once; closing unloads it; it opens again on use."""
    plugin = held(reply="Yes.")
    engine = engine_of(plugin)

    await asyncio.gather(*(engine.chat("Hello?") for _ in range(10)))
    assert plugin.opened == ["backend", "embedder", "retriever"]
    await engine.close()
    assert plugin.opened == []
    assert await engine.chat("Again?") == "Yes."
    await engine.close()


async def test_documents_of_the_config_are_preloaded(held: Any, speech: str, tmp_path: Path) -> None:
    """Files and globs under preload are in scope for every question."""
    (tmp_path / "speech.txt").write_text(speech, "utf-8")
    plugin = held(context_length=4096)
    engine = engine_of(plugin)
    engine._overrides["preload"] = [str(tmp_path / "*.txt")]

    async with engine:
        answer = await engine.chat(QUESTION)
        await engine.reset()
        still = await engine.chat(QUESTION)

    assert "460,000" in answer
    assert "460,000" in still


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("*.md", b"", r"preload\[0\]: no file matches"), ("x.txt", b"\xff\xfe\x00", "is not in utf-16")],
)
async def test_a_preload_that_cannot_be_read_is_an_error(
    held: Any, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    """A pattern without files and a file that is no text stop the start with a line."""
    (tmp_path / "x.txt").write_bytes(data)
    engine = engine_of(held())
    engine._overrides["preload"] = [str(tmp_path / name)]

    with pytest.raises(ConfigError, match=message):
        await engine.open()


async def test_sessions_keep_their_documents(held: Any, speech: str) -> None:
    """A new engine of the same session has the documents in scope; another session has not."""
    plugin = held(context_length=4096)

    async with engine_of(plugin, session_id="mine") as engine:
        await engine.ingest(speech)
    async with engine_of(plugin, session_id="mine") as again:
        answer = await again.chat(QUESTION)
    async with engine_of(plugin, session_id="other") as other:
        nothing = await other.chat(QUESTION)

    assert "460,000" in answer
    assert "460,000" not in nothing


async def test_a_failed_opening_can_be_tried_again(held: Any, tmp_path: Path) -> None:
    """What was opened before the failure is closed, and the next use opens everything."""
    plugin = held(reply="Yes.")
    engine = engine_of(plugin)
    engine._overrides["preload"] = [str(tmp_path / "later.txt")]

    with pytest.raises(ConfigError):
        await engine.chat("Hello?")
    assert plugin.opened == []
    (tmp_path / "later.txt").write_text("Some text.")
    assert await engine.chat("Hello?") == "Yes."
    await engine.close()


async def test_preloaded_documents_stay_out_of_what_they_say_nothing_about(
    held: Any, speech: str, tmp_path: Path
) -> None:
    """An unrelated question gets no passages of a preloaded text, in a chat as over HTTP."""
    (tmp_path / "speech.txt").write_text(speech, "utf-8")
    plugin = held(reply="Yes.")
    engine = engine_of(plugin)
    engine._overrides["preload"] = [str(tmp_path / "speech.txt")]

    async with engine:
        await engine.chat("Xylophones zigzag?")

    assert [message.text for message in plugin.backend.requests[-1].messages] == ["Xylophones zigzag?"]


def test_it_can_be_used_from_one_event_loop_after_another(held: Any, speech: str) -> None:
    """Scripts call asyncio.run more than once; what was ingested is still in scope."""
    plugin = held(context_length=4096)
    engine = engine_of(plugin)

    asyncio.run(engine.ingest(speech))
    answer = asyncio.run(engine.chat(QUESTION))

    assert "460,000" in answer


async def test_the_inner_of_two_holders_does_not_close_it(held: Any) -> None:
    """async with is counted."""
    plugin = held(reply="Yes.")
    engine = engine_of(plugin)

    async with engine:
        async with engine:
            pass
        assert engine.is_open
    assert not engine.is_open


async def test_a_session_keeps_no_transcripts(held: Any, speech: str) -> None:
    """Old turns of a long talk are remembered while it lasts, and not stored beside the documents."""
    plugin = held(reply="word " * 60, context_length=512)

    async with engine_of(plugin, session_id="mine") as engine:
        await engine.ingest(speech)
        for number in range(8):
            await engine.chat(f"What about number {number}, and what else is there to say?")
        stored = await engine.documents()
        await engine.reset()
        left = await engine.documents()

    assert [info.characters for info in stored] == [len(speech)]
    assert left == []


async def test_documents_that_did_not_survive_are_no_longer_in_scope(held: Any, speech: str) -> None:
    """A memory that does not persist starts empty when the engine opens again."""
    plugin = held(reply="Yes.")
    engine = engine_of(plugin)
    async with engine:
        await engine.ingest(speech)
    plugin.retriever = type(plugin.retriever)()

    assert await engine.chat("Hello again?") == "Yes."
    await engine.close()


@pytest.mark.parametrize(
    ("llm", "name"),
    [
        ({"type": "openai", "model_name": "gpt-4.1", "api_url": "http://127.0.0.1:9/v1"}, "gpt-4.1"),
        ({"type": "llama-cpp", "model_path": "qwen2.5-0.5b-instruct"}, "qwen2.5-0.5b-instruct"),
        ({"type": "dummy"}, "scripted"),
    ],
)
def test_the_model_has_its_whole_name(llm: dict[str, Any], name: str) -> None:
    """Dots in a name are no file suffix."""
    assert KimiEngine(llm_config=llm).model_name == name


async def test_a_document_is_stored_described_read_and_forgotten(held: Any, tmp_path: Path) -> None:
    """One tenant's stays when another deletes the same text; a preloaded one stays in any case."""
    (tmp_path / "map.txt").write_text("The market lies in the south.", "utf-8")
    engine = engine_of(held())
    engine._overrides["preload"] = [str(tmp_path / "map.txt")]
    text = "The harbour lies in the north."

    async with engine:
        ours, theirs = (
            await engine.store(text, name="notes"),
            await engine.store(text, tenant="bob", kept=False),
        )
        await engine.forget(ours.id)
        [shared] = await engine.documents()
        with pytest.raises(DocumentNotFound, match=ours.id):
            await engine.document(ours.id)
        with pytest.raises(DocumentNotFound, match=ours.id):
            await engine.forget(ours.id)
        for tenant in ("anonymous", "bob"):
            with pytest.raises(DocumentPreloaded, match="'preload'"):
                await engine.forget(shared.id, tenant)
        with pytest.raises(RequestError, match="'text'"):
            await engine.store(" \n")

        assert (ours.name, ours.kept, theirs.name, theirs.kept) == ("notes", True, None, False)
        assert (shared.name, shared.kept) == ("map.txt", True)
        assert await engine.document_text(ours.id, "bob") == text
        assert await engine.document_text(shared.id, "bob") == "The market lies in the south."


async def test_a_session_keeps_what_was_stored_in_it(held: Any, speech: str) -> None:
    """Only the transcripts of its talk are forgotten."""
    engine = engine_of(held(context_length=512), session_id="one")

    async with engine:
        stored = await engine.store("The harbour lies in the north.")
        await engine.chat(speech)
        left = await engine.documents()

    assert [info.id for info in left] == [stored.id]


def asked(question: str, tenant: str = "anonymous") -> Ask:
    request = GenerateRequest(messages=(Message(role="user", content=question),))
    return Ask(request=request, tenant=tenant)


@pytest.mark.parametrize(
    "question", ["Where is the plan?", "List all plans mentioned.", "Summarise the text."]
)
async def test_what_the_engine_ingested_reaches_no_caller_with_a_key_of_its_own(
    held: Any, tmp_path: Path, question: str
) -> None:
    """Not even its id does; what is preloaded does, and the engine's own callers have both."""
    (tmp_path / "map.txt").write_text("The plan of the market lies in the south.", "utf-8")
    engine = engine_of(held())
    engine._overrides["preload"] = [str(tmp_path / "map.txt")]

    async with engine:
        secret = await engine.ingest("The plan of the harbour is in the north.")
        theirs = await engine.explain(asked(question, "bob"))
        ours = await engine.explain(asked(question))

    assert len(theirs.documents) == 1
    assert secret in {document.id for document in ours.documents}
    assert secret not in str(theirs)


async def test_an_ingested_document_that_is_gone_is_no_longer_searched(held: Any) -> None:
    """The store may be emptied by others while the engine runs."""
    plugin = held(reply="Yes.")

    async with engine_of(plugin) as engine:
        document_id = await engine.ingest("The harbour lies in the north.")
        await plugin.retriever.delete(document_id)
        answer = await engine.chat("List all harbours mentioned.")
        explanation = await engine.explain(asked("Where is the harbour?"))

    assert answer == "Yes."
    assert explanation.documents == ()


async def test_a_session_restores_only_what_was_ingested_in_it(held: Any) -> None:
    """A transcript that a killed process left behind is nothing to answer from."""
    plugin = held()

    async with engine_of(plugin, session_id="mine") as engine:
        kept = await engine.ingest("The harbour lies in the north.")
        await engine.store("user: Where is the market?", kept=False)
    async with engine_of(plugin, session_id="mine") as again:
        explanation = await again.explain(asked("Where is the harbour?"))

    assert [document.id for document in explanation.documents] == [kept]


@pytest.mark.parametrize(
    "work",
    [
        lambda engine: engine.ingest("The harbour."),
        lambda engine: engine.store("The harbour."),
        lambda engine: engine.explain(Ask(request=LONG)),
    ],
    ids=["ingest", "store", "explain"],
)
async def test_a_stop_ends_the_work_on_documents(held: Any, work: Any) -> None:
    """A server that is about to stop waits for no document, and whoever sent it is told why."""
    plugin = held(context_length=256)
    began, add = asyncio.Event(), plugin.retriever.add

    async def endless(*parts: Any, **names: Any) -> None:
        began.set()
        await asyncio.sleep(600)
        await add(*parts, **names)

    plugin.retriever.add = endless
    async with engine_of(plugin) as engine:
        task = asyncio.create_task(work(engine))
        await began.wait()
        engine.interrupt()

        with pytest.raises(BackendUnavailable, match="being stopped"):
            await asyncio.wait_for(task, 5)
