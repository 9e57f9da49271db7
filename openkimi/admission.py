"""A bounded queue: how many requests may be in progress at once."""

from __future__ import annotations

from types import TracebackType

from openkimi.errors import BackendUnavailable


class Admission:
    """Counts the requests that are inside a ``with`` and refuses those that would wait behind too many.

    ``limit`` is the most that are let in: those the backend answers at once and those that may wait. None
    lets everybody in. Waiting itself is the backend's, which knows how to be fair.

    Raises:
        BackendUnavailable: there are as many as may be; nothing was begun.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.inside = 0

    def __enter__(self) -> None:
        if self.limit is not None and self.inside >= self.limit:
            raise BackendUnavailable(
                f"the gateway is busy: {self.inside} requests are being answered or wait, which is all that "
                "server.max_queue allows; try again later"
            )
        self.inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside -= 1
