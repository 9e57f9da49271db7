"""Has a synthesizer make one answer of candidates, and takes the first of them where it cannot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec
import structlog

from openkimi.contracts import Backend, Synthesis, Synthesizer
from openkimi.degrading import blame, leave_out
from openkimi.errors import BackendError, OpenKimiError, PluginError
from openkimi.messages import Delta, Message, Usage
from openkimi.paths import Walked
from openkimi.receipt import Degraded
from openkimi.spending import Spending
from openkimi.streams import closing

AskModel = Callable[[Sequence[Message], list[Spending]], AsyncIterator[Delta]]
"""Answers messages, and adds what that uses to a list."""

log = structlog.get_logger()


class Synthesising:
    """The making of one answer by a synthesizer of that ``kind``; one that fails is left out.

    ``constrained`` says that the answer has to have a form: then a candidate is chosen, never rewritten.
    """

    def __init__(
        self, backend: Backend, synthesizer: Synthesizer, *, kind: str, ask_model: AskModel, constrained: bool
    ) -> None:
        self.chosen: int | None = None
        self.agreement: float | None = None
        self.supported: bool | None = None
        self.dissenting: tuple[int, ...] | None = None
        self.degraded: Degraded | None = None
        self._backend = backend
        self._synthesizer = synthesizer
        self._kind = kind
        self._ask_model = ask_model
        self._constrained = constrained
        self._calls: list[Spending] = []
        self._shown = Spending(0)
        self._walked: Sequence[Walked] = ()
        self._written: AsyncIterator[Delta] | None = None
        self._open: list[AsyncIterator[Delta]] = []

    async def begin(self, question: str, walked: Sequence[Walked]) -> None:
        """Let the synthesizer choose, or tell that it writes."""
        self._walked = walked
        candidates = [path.candidate for path in walked]
        try:
            made = await self._synthesizer.synthesize(question, candidates, self._generate)
            self._open.append(made.answer)
            self._take(made)
        except Exception as error:  # noqa: BLE001 - it is a plugin's
            self._fall_back(error)
        if self._written is None:
            await self.aclose()

    async def aclose(self) -> None:
        """Close what the synthesizer was to answer with and what it asked the model, read or not."""
        while self._open:
            try:
                async with closing(self._open.pop()):
                    pass
            except Exception as error:
                log.warning("answer_not_closed", reason=blame(self._synthesizer, "synthesize", error))
                log.debug("answer_not_closed_because", exc_info=error)

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Yield the answer.

        A candidate that was chosen as it is comes delta by delta as the model gave it, so that nothing of it,
        such as log-probabilities, is lost.

        Raises:
            BackendError: it broke off after it had begun.
        """
        if self._written is not None:
            self._open = [one for one in self._open if one is not self._written]
            async with closing(self._rewritten(self._written)) as deltas:
                async for delta in deltas:
                    yield delta
        if self.chosen is not None:
            path = next(path for path in self._walked if path.index == self.chosen)
            for delta in path.deltas:
                yield delta

    async def spent(self) -> Usage:
        """Return what all calls of the model by the synthesizer have used."""
        return sum([await call.usage(self._backend) for call in self._calls], start=Usage())

    async def shown(self) -> Usage:
        """Return what the answer that is shown has used."""
        if self.chosen is not None:
            return next(path.usage for path in self._walked if path.index == self.chosen)
        return await self._shown.usage(self._backend)

    def _take(self, made: Synthesis) -> None:
        """Take what it tells as plain values, of whatever library its numbers are."""
        chosen = next((path.index for path in self._walked if path.index == made.chosen), None)
        agreement = None if made.agreement is None else float(made.agreement)
        supported = None if made.supported is None else bool(made.supported)
        dissenting = tuple(int(index) for index in made.dissenting)
        if chosen is None and self._constrained:
            raise PluginError("an answer with tools or a response format is to be chosen, never rewritten")
        self.chosen, self.agreement, self.supported = chosen, agreement, supported
        self.dissenting = None if chosen is None and not dissenting else dissenting
        self._written = made.answer if chosen is None else None

    def _fall_back(self, error: Exception) -> None:
        """Take the first candidate, of which nothing more is known."""
        self.degraded = leave_out("synthesizer", self._synthesizer, "synthesize", error)
        self.chosen = self._walked[0].index
        self.agreement = self.supported = self.dissenting = None

    async def _rewritten(self, written: AsyncIterator[Delta]) -> AsyncGenerator[Delta, None]:
        """Yield a new text up to its finish reason; nothing where it does not begin, which is a failure."""
        last: Delta | None = None
        try:
            async with closing(written) as deltas:
                async for delta in deltas:
                    self._shown.add(delta)
                    if delta.finish_reason is not None:
                        last = delta
                        break
                    yield delta if delta.usage is None else msgspec.structs.replace(delta, usage=None)
        except Exception as error:
            if not self._has_begun:
                self._fall_back(error)
                return
            blame(self._synthesizer, "synthesize", error)
            if isinstance(error, OpenKimiError):
                raise
            message = f"the synthesizer '{self._kind}' failed in the middle of its answer"
            raise BackendError(message) from error
        if not self._has_begun:
            self._fall_back(PluginError("the synthesizer's answer is empty"))
        elif last is None:
            yield Delta(finish_reason="stop")
        else:
            yield last

    @property
    def _has_begun(self) -> bool:
        answer = self._shown.answer
        return bool(answer.content or answer.thoughts or answer.calls)

    def _generate(self, messages: Sequence[Message]) -> AsyncGenerator[Delta, None]:
        """Ask the model; the :class:`openkimi.Generate` of the synthesizer."""
        asking = self._ask(messages)
        self._open.append(asking)
        return asking

    async def _ask(self, messages: Sequence[Message]) -> AsyncGenerator[Delta, None]:
        if self._constrained:
            raise PluginError(
                "a synthesizer must not ask the model for another answer where the request has tools or a "
                "response format: one of the candidates has to be chosen"
            )
        async with closing(self._ask_model(messages, self._calls)) as deltas:
            async for delta in deltas:
                yield delta
