"""Progress: told now and then, to all who wait, and never with a word of a text."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from openkimi import Chunk, Document, Processor, Progress, report_progress
from openkimi.documents import ANONYMOUS
from openkimi.memory import Memory
from openkimi.progress import Report, ignore, reporting, watched
from openkimi.testing import InMemoryRetriever

TEXT = "The harbour lies in the north."


class Slow(Processor):
    """Tells of ten steps, each from a thread, with a moment between them."""

    version = "1"

    async def process(self, document: Document) -> Sequence[Chunk]:
        for step in range(10):
            await asyncio.to_thread(report_progress, step + 1, 10)
            await asyncio.sleep(0.01)
        return [Chunk(key="k", text=document.text, start=0, end=len(document.text), ordinal=0)]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkimi.progress._OFTEN_SECONDS", 0.0)
    monkeypatch.setattr("openkimi.progress._LOG_SECONDS", 0.0)


def test_progress_where_nobody_listens_costs_nothing() -> None:
    """A component may tell at any time."""
    report_progress(1, 2)


def test_progress_is_not_told_too_often() -> None:
    """A component may tell at each passage: who waits hears of it twice a second at most."""
    told: list[Progress] = []

    with reporting("cutting", told.append):
        for done in range(10_000):
            report_progress(done, 10_000)

    assert not told


@pytest.mark.usefixtures("often")
async def test_two_who_wait_for_the_same_document_both_hear_of_it() -> None:
    """The work is done once, and each caller is told how far it is."""
    memory = Memory(Slow(), InMemoryRetriever())
    told: list[list[Progress]] = [[], []]

    await asyncio.gather(*(memory.remember(Document.of(TEXT), ANONYMOUS, one.append) for one in told))

    assert all(Progress(stage="cutting", done=10, total=10) in one for one in told)


@pytest.mark.usefixtures("often")
async def test_the_log_tells_of_progress_without_text() -> None:
    """An operator sees how far a long document is, and nothing of what it says."""
    memory = Memory(Slow(), InMemoryRetriever())

    with structlog.testing.capture_logs() as logged:
        await memory.remember(Document.of(TEXT), ANONYMOUS)

    lines = [entry for entry in logged if entry["event"] == "progress"]
    assert lines
    assert {entry["log_level"] for entry in lines} == {"info"}
    assert (lines[-1]["stage"], lines[-1]["done"], lines[-1]["total"]) == ("cutting", 10, 10)
    assert "harbour" not in str(logged)


async def test_watched_work_yields_its_latest_progress() -> None:
    """Who is slow to listen misses steps, never the end."""

    async def work(report: Report) -> None:
        for done in (1, 2, 3):
            report(Progress(stage="storing", done=done, total=3))
        await asyncio.sleep(0)

    assert [progress.done async for progress in watched(work)] == [3]


async def test_watched_work_raises_what_failed() -> None:
    """An error comes out where the progress is read."""

    async def work(report: Report) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await anext(watched(work))


async def test_closing_ends_the_watched_work() -> None:
    """Who stops listening does not leave work behind."""
    ended = asyncio.Event()

    async def work(report: Report) -> None:
        report(Progress(stage="storing", done=1, total=3))
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    told = watched(work)
    await anext(told)
    await told.aclose()

    assert ended.is_set()


def test_a_line_of_progress_tells_what_it_costs() -> None:
    """Counts and units, and in the exhaustive mode the tokens and calls."""
    storing = Progress(stage="storing", done=1200, total=3400)
    reading = Progress(stage="reading", done=3, total=41, calls=45, tokens=61000)

    assert storing.text == "storing 1200/3400 passages"
    assert reading.text == (
        "reading 3/41 parts of the text, about 61000 tokens to read, at most 45 calls of the model"
    )
    ignore(storing)
