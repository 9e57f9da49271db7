"""Adds to a receipt what the answers cite, as each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import structlog

from openkimi.citations import Citations, cite
from openkimi.documents import Hit
from openkimi.messages import Delta
from openkimi.path_receipt import MprReceipt
from openkimi.receipt import Degraded, Receipt
from openkimi.streams import closing
from openkimi.turn import Turn

log = structlog.get_logger()


class Citing:
    """The answers to one request, whose receipt grows by the citations of each."""

    def __init__(self, turn: Turn, receipt: Receipt, *, wanted: bool) -> None:
        self.receipt = receipt
        self._turn = turn
        self._wanted = wanted
        self._found = Citations()

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know what the answers cite."""
        return self._wanted

    def reason(self, reasoned: MprReceipt, degraded: Degraded | None) -> Receipt:
        """Note what came of the paths of an answer, and what was left out on the way."""
        others = (one for one in self.receipt.mpr if one.choice != reasoned.choice)
        self.receipt = self.receipt.reasoning((*others, reasoned))
        if degraded is not None:
            self.receipt = self.receipt.without(degraded)
        return self.receipt

    async def follow(
        self, answer: AsyncIterator[Delta], passages: Sequence[Hit], *, choice: int
    ) -> AsyncGenerator[Delta | Receipt, None]:
        """Pass an answer on, with the receipt that cites for it before its last delta."""
        text: list[str] = []
        async with closing(answer) as deltas:
            async for delta in deltas:
                text.append(delta.content)
                if delta.finish_reason is not None and self._wanted and passages:
                    yield await self._cite("".join(text), passages, choice)
                yield delta

    async def _cite(self, text: str, passages: Sequence[Hit], choice: int) -> Receipt:
        """Cite for an answer; should that fail it goes without."""
        try:
            found = await asyncio.to_thread(cite, text, self._turn, passages, choice=choice)
        except Exception as error:
            log.warning("citations_failed", error=type(error).__name__)
            log.debug("citations_failed_because", exc_info=error)
            found = Citations()
        self._found += found
        self.receipt = self.receipt.citing(self._found)
        return self.receipt
