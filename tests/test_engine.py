"""KimiEngine: the object that users of the library hold."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openkimi import ConfigError, KimiEngine

QUESTION = "How many displaced persons still remained in the United States zone of Germany?"


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
    [("*.md", b"", r"preload\[0\]: no file matches"), ("x.txt", b"\xff\xfe\x00", "is not UTF-8 text")],
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
