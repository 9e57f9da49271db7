"""An event stream: its beginning commits the status, its silence is filled, its end closes the work."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

import pytest

from openkimi import BackendError, BackendUnavailable, Delta
from openkimi.api.deadline import Deadline
from openkimi.api.schemas import ErrorDetail
from openkimi.api.sse import EventStream, Writer
from openkimi.pipeline import Event
from openkimi.receipt import Receipt

RECEIPT = Receipt(compressed=False, window=100, prompt_tokens=1)


class Names:
    """Writes the name of everything it is asked to write."""

    def begin(self) -> Iterable[bytes]:
        return [b"begin"]

    def write(self, event: Event) -> Iterable[bytes]:
        return [event.content.encode() if isinstance(event, Delta) else b"receipt"]

    def end(self) -> Iterable[bytes]:
        return [b"end"]

    def fail(self, error: ErrorDetail) -> Iterable[bytes]:
        return [error.message.encode()]


async def sent(
    events: AsyncGenerator[Event, None],
    parts: list[bytes],
    *,
    seconds: float | None = None,
    writer: Writer | None = None,
) -> list[bytes]:
    async def start() -> None:
        parts.append(b"status")

    async def write(data: bytes) -> None:
        parts.append(data)

    await EventStream(events, writer or Names(), deadline=Deadline(seconds)).run(start, write)
    return parts


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkimi.api.sse.FIRST_SECONDS", 0.02)
    monkeypatch.setattr("openkimi.api.sse.KEEP_ALIVE_SECONDS", 0.02)


async def test_everything_comes_in_its_order() -> None:
    """The status and the beginning come with the first delta, what was earlier before it."""

    async def events() -> AsyncGenerator[Event, None]:
        yield RECEIPT
        yield Delta(content="one")
        yield Delta(content="two")

    assert await sent(events(), []) == [b"status", b"begin", b"receipt", b"one", b"two", b"end"]


async def test_an_answer_without_anything_begins_and_ends() -> None:
    """No delta at all is a whole stream all the same."""

    async def events() -> AsyncGenerator[Event, None]:
        yield RECEIPT

    assert await sent(events(), []) == [b"status", b"begin", b"receipt", b"end"]


async def test_an_early_failure_is_raised_and_nothing_sent() -> None:
    """What fails before the first delta can still be a status."""
    parts: list[bytes] = []

    async def events() -> AsyncGenerator[Event, None]:
        yield RECEIPT
        raise BackendUnavailable("busy")

    with pytest.raises(BackendUnavailable):
        await sent(events(), parts)

    assert parts == []


@pytest.mark.usefixtures("soon")
async def test_a_failure_after_a_silent_second_is_an_event() -> None:
    """Silence commits the status, then comes a comment; an error that follows is told in the stream."""

    async def events() -> AsyncGenerator[Event, None]:
        yield RECEIPT
        await asyncio.sleep(0.2)
        raise BackendError("broken")

    parts = await sent(events(), [])

    assert parts[:3] == [b"status", b"begin", b"receipt"]
    assert set(parts[3:-1]) == {b": still working\n\n"}
    assert parts[-1] == b"broken"


@pytest.mark.usefixtures("soon")
async def test_a_beginning_that_fails_in_a_silence_is_told(soon: None) -> None:
    """What goes wrong beside the answer ends it, and is not lost."""

    class Speechless(Names):
        def begin(self) -> Iterable[bytes]:
            raise BackendError("no beginning")

    parts: list[bytes] = []

    async def events() -> AsyncGenerator[Event, None]:
        while b"status" not in parts:
            await asyncio.sleep(0.01)
        yield Delta(content="one")

    await sent(events(), parts, writer=Speechless())

    assert parts == [b"status", b"no beginning"]


async def test_a_deadline_ends_a_stream_that_has_begun() -> None:
    """The work is closed, the last event says why."""
    closed = False

    async def events() -> AsyncGenerator[Event, None]:
        nonlocal closed
        try:
            yield Delta(content="one")
            await asyncio.sleep(30)
        finally:
            closed = True

    parts = await sent(events(), [], seconds=0.1)

    assert closed
    assert b"request_timeout" in parts[-1]


async def test_cancelling_closes_the_work() -> None:
    """When the cancelled task has ended, the answer's generator has let go."""
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield Delta(content="one")
            await asyncio.sleep(30)
        finally:
            closed.set()

    parts: list[bytes] = []
    task = asyncio.create_task(sent(events(), parts))
    while b"one" not in parts:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert closed.is_set()
    assert task.cancelled()
