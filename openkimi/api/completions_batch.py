"""The prompts of one request, answered as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager

import msgspec
from msgspec import UNSET, UnsetType

from openkimi.engine import KimiEngine
from openkimi.errors import RequestError
from openkimi.gathering import Choice
from openkimi.messages import Delta, Usage
from openkimi.pipeline import Event
from openkimi.progress import Progress
from openkimi.receipt import Receipt
from openkimi.turn import Ask


class Batch:
    """Several asks of as many answers each; a choice's index counts through the answers of all prompts."""

    def __init__(self, prompts: Sequence[str], asks: Sequence[Ask], *, best_of: bool = False) -> None:
        self.prompts = prompts
        self.receipts: list[Receipt | None] = [None] * len(asks)
        self._asks = asks
        self.each = asks[0].n
        self._best_of = best_of

    @property
    def size(self) -> int:
        """The number of all choices."""
        return len(self._asks) * self.each

    def prompt_of(self, index: int) -> int:
        """Return the number of the prompt that a choice answers."""
        return index // self.each

    async def events(self, engine: KimiEngine) -> AsyncGenerator[Event, None]:
        """Answer the prompts, and keep their receipts.

        Raises:
            OpenKimiError: what the engine raises.
        """
        if self._asks[0].request.max_tokens == 0:
            async with aclosing(self._unanswered(engine)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        with self._naming_parameters():
            async with aclosing(engine.answer_each(self._asks)) as events:
                async for at, event in events:
                    if isinstance(event, Delta):
                        yield msgspec.structs.replace(event, index=at * self.each + event.index)
                        continue
                    if isinstance(event, Receipt):
                        self.receipts[at] = event
                    yield self._numbered(event, at) if isinstance(event, Progress) else event

    def _numbered(self, progress: Progress, prompt: int) -> Progress:
        """Say of which of all answers it is, where it is of one of them."""
        if progress.stage != "reasoning" or self.size == 1:
            return progress
        return msgspec.structs.replace(progress, choice=prompt * self.each + (progress.choice or 0))

    def best(self, choices: Sequence[Choice], n: int) -> list[int]:
        """Choose the ``n`` answers of each prompt whose tokens were likeliest on average; by number."""
        if n == self.each:
            return list(range(len(choices)))
        groups = (range(at, at + self.each) for at in range(0, len(choices), self.each))
        return [
            at
            for group in groups
            for at in sorted(group, key=lambda at: _likelihood(choices[at]), reverse=True)[:n]
        ]

    def receipt(self, prompt: int, shown: Mapping[int, int]) -> Receipt | UnsetType:
        """Return a prompt's receipt for some of its answers, each by the number that it is shown with."""
        receipt = self.receipts[prompt]
        if receipt is None:
            return UNSET
        return receipt.of_choices({index % self.each: number for index, number in shown.items()})

    async def _unanswered(self, engine: KimiEngine) -> AsyncGenerator[Delta, None]:
        """Count the prompts of a request that wants no token of an answer."""
        for at, ask in enumerate(self._asks):
            with self._naming_parameters():
                usage = Usage(prompt_tokens=await engine.count_prompt(ask.request))
            for number in range(self.each):
                used = Usage() if number else usage
                yield Delta(finish_reason="length", usage=used, index=at * self.each + number)

    @contextmanager
    def _naming_parameters(self) -> Iterator[None]:
        """Name the parameter at fault as it is called here."""
        try:
            yield
        except RequestError as error:
            if error.param == "messages":
                error.param = "prompt"
            if error.param == "logprobs" and self._best_of:
                error.param = "best_of"
                error.message = "'best_of': the configured model gives no log-probabilities to choose by"
            raise


def _likelihood(choice: Choice) -> float:
    tokens = choice.logprobs
    return sum(token.logprob for token in tokens) / len(tokens) if tokens else float("-inf")
