"""Writes that are ready together leave together, and none is lost."""

import asyncio
from typing import cast

from openkimi.api.joining import Joined


class Wire:
    """A transport that remembers what it was given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = self.aborted = False
        self.unsent = 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


def joined() -> tuple[Wire, Joined]:
    wire = Wire()
    return wire, Joined(cast("asyncio.Transport", wire), patience=0.01)


async def test_what_is_ready_together_is_one_write() -> None:
    """Head and body go at the end of the loop's turn, what comes later in a later write."""
    wire, transport = joined()

    transport.write(b"head ")
    transport.write(b"body")
    before = list(wire.written)
    await asyncio.sleep(0)
    transport.write(b"more")
    await asyncio.sleep(0)

    assert before == []
    assert wire.written == [b"head body", b"more"]


async def test_much_is_not_held_back() -> None:
    """Beyond a limit the transport gets it at once, so that it can hold up who writes."""
    wire, transport = joined()

    for _ in range(100):
        transport.write(b"x" * 1000)

    assert 65_000 < sum(map(len, wire.written)) < 100_000
    assert not any(len(data) > 67_000 for data in wire.written)


async def test_closing_writes_what_is_left() -> None:
    """Nothing is lost by closing, and nothing written after it."""
    wire, transport = joined()

    transport.write(b"last")
    transport.close()
    transport.write(b"too late")
    await asyncio.sleep(0)

    assert wire.written == [b"last"]
    assert wire.closed


async def test_what_is_left_at_the_end_is_given_up_at_last() -> None:
    """A client that reads nothing does not keep a closed connection for ever."""
    wire, transport = joined()
    wire.unsent = 5

    transport.close()
    before = wire.aborted
    await asyncio.sleep(0.05)

    assert not before
    assert wire.aborted
