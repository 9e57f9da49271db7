"""The receipt: what became of the caller's documents on their way to the model, and what the answer cites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

from openkimi.citations import AnswerSpan, Citation, Citations
from openkimi.modes import UsedMode
from openkimi.path_receipt import MprReceipt

S = TypeVar("S", bound=AnswerSpan | MprReceipt)

PassageKind = Literal["dense", "retrieved"]
OptionalStage = Literal["reranker", "sampler", "synthesizer"]
"""What an answer can be without: a better order of passages, others for its paths, a choice of theirs."""


class Degraded(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that failed and was left out, and why, with nothing of a text in it."""

    stage: OptionalStage
    reason: str


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that stands in the prompt.

    ``start`` and ``end`` are character offsets into the text of the message it came from; ``message`` is
    that message's number in the request. It is None for a document that was stored before, and for what
    goes over several of the earlier exchanges: then the offsets are into that document's own text, which
    for exchanges is their transcript. ``kind`` tells why it is there: it was found for the question, or
    taken for what it holds, whatever the question.
    """

    document: str
    start: int
    end: int
    score: float
    density: float
    message: int | None = None
    kind: PassageKind = "retrieved"
    lexical: float | None = None
    similarity: float | None = None


class DocumentReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A document in scope: its size, and how many of its characters stand in the prompt.

    ``tokens`` is an estimate from the characters per token of its passages in the prompt.
    """

    id: str
    name: str | None = None
    characters: int | None
    tokens: int | None = None
    chunks: int | None = None
    kept_characters: int


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """An amount of document text; ``tokens`` is an estimate as that of a document."""

    characters: int = 0
    tokens: int = 0
    chunks: int = 0


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How a prompt was built, and where the answer stands in it.

    ``compressed`` is False when the messages went to the model unchanged. ``prompt_tokens`` and
    ``context_tokens`` are counted by the model's own tokenizer. ``found`` counts the passages the search
    brought back. ``dense`` and ``retrieved`` sum up the passages by their kind, ``left_out`` what is not in
    the prompt. ``unsupported`` are the sentences of the answer without a citation. ``mode`` says how a
    prompt was built that is not the messages themselves. With several reasoning paths ``mpr`` tells of each
    answer what its paths came to, and ``agreement`` how alike those of the first were. In the exhaustive mode
    the model reads ``read_tokens`` in at most ``calls`` answers, and the passages are what gave it notes.
    ``degraded`` are the stages that failed and were left out.
    """

    compressed: bool
    mode: UsedMode | None = None
    window: int
    prompt_tokens: int
    context_tokens: int = 0
    max_context_tokens: int | None = None
    documents: tuple[DocumentReceipt, ...] = ()
    passages: tuple[Passage, ...] = ()
    found: int = 0
    dense: Extent = Extent()
    retrieved: Extent = Extent()
    left_out: Extent = Extent()
    paths: int = 1
    agreement: float | None = None
    mpr: tuple[MprReceipt, ...] = ()
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[AnswerSpan, ...] = ()
    calls: int = 1
    read_tokens: int = 0
    degraded: tuple[Degraded, ...] = ()

    def citing(self, found: Citations) -> Receipt:
        """Return the receipt with citations."""
        return msgspec.structs.replace(self, citations=found.cited, unsupported=found.unsupported)

    def reasoning(self, reasoned: Iterable[MprReceipt]) -> Receipt:
        """Return the receipt with what came of the paths of some answers."""
        mpr = tuple(sorted(reasoned, key=lambda one: one.choice))
        return msgspec.structs.replace(self, mpr=mpr, agreement=mpr[0].agreement if mpr else None)

    def without(self, degraded: Degraded) -> Receipt:
        """Return the receipt of an answer that a stage was left out of."""
        if degraded in self.degraded:
            return self
        return msgspec.structs.replace(self, degraded=(*self.degraded, degraded))

    def of_choices(self, shown: Mapping[int, int]) -> Receipt:
        """Return the receipt of some of several answers, each under the number that it is shown with."""
        return msgspec.structs.replace(
            self.reasoning(_shown(self.mpr, shown)),
            citations=tuple(_shown(self.citations, shown)),
            unsupported=tuple(_shown(self.unsupported, shown)),
        )


def _shown(of_answers: Iterable[S], numbers: Mapping[int, int]) -> Iterable[S]:
    for one in of_answers:
        if one.choice in numbers:
            yield msgspec.structs.replace(one, choice=numbers[one.choice])
