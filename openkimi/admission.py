"""A bounded queue: how many requests may be in progress at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from openkimi.errors import BackendUnavailable


class Admission:
    """Counts requests in progress and refuses those that would wait behind too many.

    ``limit`` is the most that are let in: those the backend answers at once and those that may wait. None
    lets everybody in. Waiting itself is the backend's, which knows how to be fair.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a request while the block runs.

        Raises:
            BackendUnavailable: there are as many as may be; nothing was begun.
        """
        if self.limit is not None and self.inside >= self.limit:
            raise BackendUnavailable(
                f"the gateway is busy: {self.inside} requests are being answered or wait, which is all that "
                "server.max_queue allows; try again later"
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
