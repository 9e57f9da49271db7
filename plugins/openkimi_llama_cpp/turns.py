"""Decides whose turn it is, between callers' requests, whatever number of answers each of them asks for.

Prompts and answers share the model's time by the numbers of those who wait for them, so that a long prompt
does not hold up an answer that is being written. Of the prompts, that one is read which would end first if
all requests were read side by side (fair queueing, Demers et al. 1989): a short one overtakes a long one,
equal ones keep their order, and none ends much later than it would side by side. Of the answers, one goes on
of that request which has had the least time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, TypeVar


class Worker(Protocol):
    """Work on one answer: its prompt is read, then it is written."""

    @property
    def share(self) -> Hashable:
        """The request that it belongs to: what is equal has one turn together."""

    @property
    def reading(self) -> bool:
        """Whether the prompt is not read to its end."""

    @property
    def unread(self) -> int:
        """How many tokens of the prompt are left to read."""

    @property
    def written(self) -> int:
        """How many tokens of the answer there are."""


W = TypeVar("W", bound=Worker)


class Turns:
    """The turns of those who work on one model; ``together`` has all answers go on in one step."""

    def __init__(self, *, together: bool) -> None:
        self._together = together
        self._reading = _Account()  # of tokens
        self._writing = _Account()  # of seconds
        self._ahead = 0.0  # the seconds of reading that are more than its part

    def next(self, workers: Sequence[W]) -> list[W]:
        """Choose who goes on now; of equals, whoever stands first."""
        readers = [worker for worker in workers if worker.reading]
        writers = [worker for worker in workers if not worker.reading]
        answers = Counter(worker.share for worker in workers)
        self._reading.divide(_weights(readers, answers))
        self._writing.divide(_weights(writers, answers))
        if not (readers and writers):
            self._ahead = 0.0  # whoever comes now has nothing to catch up on
        if readers and self._ahead <= 0:
            return [min(readers, key=self._end)]
        if self._together or not writers:
            return writers
        return [min(writers, key=lambda writer: (self._writing.of(writer.share), writer.written))]

    def read(self, worker: Worker, tokens: int, seconds: float) -> None:
        """Count what reading took for the one that :meth:`next` chose."""
        self._ahead += seconds * (1 - self._part_of_reading)
        self._reading.spend(worker.share, tokens)

    def wrote(self, workers: Sequence[Worker], seconds: float) -> None:
        """Count what writing took for those that :meth:`next` chose."""
        self._ahead -= seconds * self._part_of_reading
        for worker in workers:
            self._writing.spend(worker.share, seconds / len(workers))

    @property
    def _part_of_reading(self) -> float:
        return self._reading.weight / (self._reading.weight + self._writing.weight)

    def _end(self, reader: Worker) -> float:
        """Tell when a prompt ends if all requests are read side by side."""
        return self._reading.of(reader.share, reader.unread)


class _Account:
    """What each share has had of one kind of work beyond its part, which is by its weight.

    Who leaves with more than that stays in the account until the others had theirs.
    """

    def __init__(self) -> None:
        self.weight = 0.0
        self._present = frozenset[Hashable]()
        self._weights: dict[Hashable, float] = {}
        self._beyond: dict[Hashable, float] = {}

    def divide(self, weights: Mapping[Hashable, float]) -> None:
        """Divide the work that comes between those who want it now."""
        self._weights |= weights
        self._beyond = {**dict.fromkeys(weights, 0.0), **self._beyond}
        self._present, self.weight = frozenset(weights), sum(weights.values())
        for share in [share for share, beyond in self._beyond.items() if beyond <= 0]:
            if share not in self._present:
                self._leave(share)

    def of(self, share: Hashable, more: float = 0.0) -> float:
        """Tell how far a share is beyond its part, or would be with so much more, over its weight."""
        return (self._beyond[share] + more) / self._weights[share]

    def spend(self, share: Hashable, amount: float) -> None:
        """Count what a share had."""
        self._beyond[share] += amount
        self._spread(-amount)

    def _leave(self, share: Hashable) -> None:
        """Let a share go, and the others have what it did not take."""
        del self._weights[share]
        self._spread(self._beyond.pop(share))

    def _spread(self, amount: float) -> None:
        whole = sum(self._weights.values())
        for share, weight in self._weights.items():
            self._beyond[share] += amount * weight / whole


def _weights(workers: Sequence[Worker], answers: Mapping[Hashable, int]) -> dict[Hashable, float]:
    """Weigh each request by how many of its answers are at this kind of work."""
    return {share: count / answers[share] for share, count in Counter(w.share for w in workers).items()}
