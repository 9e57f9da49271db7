"""Candidate answers in a file, one a line, each with the passages it was given: made once, read often."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import msgspec

from openkimi import Candidate, GenerateRequest, Usage
from openkimi.documents import Hit
from openkimi.messages import FinishReason

CLOSED, HEAD, ORACLE = "closed book", "head truncation", "oracle passage"
BASELINES = (CLOSED, HEAD, ORACLE)
PATHS = 5
ABSENT = "absent"
"""The set of questions that are asked of texts in which nothing answers them."""

Place = tuple[str, str, str, int]
"""Settings, question, sampler and index."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the model: to the question ``id`` from ``passages``.

    ``sampler`` chose the context, as its path number ``index``, or it is one of ``BASELINES``. ``settings``
    name the model and what it was asked with, ``prompt`` is the prompt's hash. ``logprob`` is the sum of the
    answer's log-probabilities, ``mean_logprob`` that for each token. ``cached`` tokens of the prompt were
    known already. ``reused`` is True where the answer was taken from an equal prompt, with its time.
    """

    settings: str
    set: str
    id: str
    lang: str
    kind: str
    sampler: str
    index: int
    seed: int
    question: str
    passages: tuple[Hit, ...]
    prompt: str
    prompt_tokens: int
    completion_tokens: int
    cached: int
    text: str
    finish_reason: FinishReason
    seconds: float
    logprob: float | None = None
    mean_logprob: float | None = None
    reused: bool = False

    @property
    def place(self) -> Place:
        """Where it belongs; the file has one of each place."""
        return self.settings, self.id, self.sampler, self.index

    @property
    def candidate(self) -> Candidate:
        """The candidate that a synthesizer is given."""
        usage = Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached,
        )
        return Candidate(
            index=self.index,
            text=self.text,
            context=self.passages,
            finish_reason=self.finish_reason,
            usage=usage,
        )


class Records:
    """The records of a file, to which several runs may add; a line that was cut off is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[Place, Record] = {}
        self._by_prompt: dict[tuple[str, str], Record] = {}
        self._read = 0
        self.refresh()

    def refresh(self) -> None:
        """Read what has been added to the file."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            with suppress(msgspec.DecodeError):
                self._enter(msgspec.json.decode(line, type=Record))

    def __contains__(self, place: Place) -> bool:
        return place in self._found

    def all(self) -> list[Record]:
        """List them in the order in which they were made."""
        return list(self._found.values())

    def like(self, settings: str, prompt: str) -> Record | None:
        """Return one that answers an equal prompt."""
        return self._by_prompt.get((settings, prompt))

    def add(self, record: Record) -> None:
        """Write one to the end of the file."""
        with self._path.open("ab+") as file:
            file.seek(max(0, file.tell() - 1))
            begin = b"" if file.read() in {b"", b"\n"} else b"\n"
            file.write(begin + msgspec.json.encode(record) + b"\n")
        self.refresh()

    def _enter(self, record: Record) -> None:
        self._by_prompt.setdefault((record.settings, record.prompt), record)
        self._found[record.place] = record


def hash_of(request: GenerateRequest) -> str:
    """Hash what an answer depends on; without chance the seed is no part of it."""
    seed = request.seed if request.temperature else None
    said = [(message.role, message.text) for message in request.messages]
    return hashlib.sha256(repr((said, request.temperature, seed)).encode()).hexdigest()[:16]
