"""Streams: closed for sure, whoever leaves first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from openkimi.streams import merge


class Source:
    """Yields numbers and notes when it is closed; fails after ``fail_after`` of them."""

    def __init__(self, count: int, fail_after: int | None = None) -> None:
        self.count, self.fail_after, self.closed = count, fail_after, False

    async def items(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                if number == self.fail_after:
                    raise ValueError("broken")
                await asyncio.sleep(0)
                yield number
        finally:
            self.closed = True


async def test_merging_yields_everything() -> None:
    """Every item of every iterator comes, each iterator's in its order."""
    items = [item async for item in merge([Source(3).items(), Source(2).items()])]

    assert sorted(items) == [0, 0, 1, 1, 2]


async def test_leaving_a_merge_closes_all_iterators() -> None:
    """A consumer that leaves early leaves nothing running."""
    sources = [Source(10_000), Source(10_000)]

    async with aclosing(merge([source.items() for source in sources])) as items:
        async for _ in items:
            break

    assert [source.closed for source in sources] == [True, True]


async def test_a_failure_in_a_merge_closes_the_others() -> None:
    """The first error is raised and the other iterators are closed."""
    sources = [Source(10_000), Source(10_000, fail_after=3)]

    with pytest.raises(ValueError, match="broken"):
        async for _ in merge([source.items() for source in sources]):
            pass

    assert [source.closed for source in sources] == [True, True]
