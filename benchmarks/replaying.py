"""Replays synthesizers over candidate answers that a model gave before: what each makes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import numpy as np
from candidates import BASELINES, Record
from questions import Question, holds
from scoring import Score, score

from openkimi import BackendError, Delta, Message, Synthesizer
from openkimi.components import Components
from openkimi.config import build_config
from openkimi.gathering import Choice
from openkimi.streams import closing


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A question with all its candidates, by the sampler of their contexts, and its baselines."""

    set: str
    question: Question
    paths: Mapping[str, Sequence[Record]]
    baselines: Mapping[str, Record]

    @property
    def one(self) -> Record:
        """What a single path answers, whatever the sampler."""
        return next(iter(self.paths.values()))[0]

    def walked(self, sampler: str, paths: int) -> list[Record]:
        """Return the paths that are walked of so many, each prompt once; none where some are missing."""
        found = self.paths.get(sampler, ())[:paths]
        first = {record.prompt: record for record in reversed(found)}
        return [record for record in found if record is first[record.prompt]] if len(found) == paths else []

    def reads_evidence(self, record: Record) -> bool:
        """Tell whether a path has read all that is needed to answer, so far as there is anything."""
        return holds("".join(hit.chunk.text for hit in record.passages), self.question.evidence)

    def score(self, text: str) -> Score:
        return score(text, self.question.answer, self.question.kind)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a synthesizer made of the candidates that were walked.

    ``wrote`` is True where it asked for a text of its own, which no replay can give: it answered without.
    ``seconds`` and ``tokens``, those that had to be computed, are of all paths walked.
    """

    text: str
    score: Score
    walked: int
    seconds: float
    tokens: int
    wrote: bool = False
    agreement: float | None = None
    supported: bool | None = None


def cases_of(records: Iterable[Record], questions: Mapping[str, tuple[str, Question]]) -> list[Case]:
    """Gather the records by question; those without a single path, or of no known question, are left out."""
    grouped: dict[str, dict[str, dict[int, Record]]] = {}
    for record in records:
        grouped.setdefault(record.id, {}).setdefault(record.sampler, {})[record.index] = record
    cases = []
    for id_, by_sampler in grouped.items():
        paths = {
            sampler: [found[at] for at in sorted(found)]
            for sampler, found in by_sampler.items()
            if sampler not in BASELINES and 0 in found
        }
        if id_ in questions and paths:
            set_, question = questions[id_]
            baselines = {name: by_sampler[name][0] for name in BASELINES if name in by_sampler}
            cases.append(Case(set=set_, question=question, paths=paths, baselines=baselines))
    return cases


def evened(records: Sequence[Record]) -> list[Record]:
    """Give every record the seconds that its tokens take on average, read and written, so that what else the
    machine did at the time counts for all alike.
    """
    tokens = np.array([(each.prompt_tokens - each.cached, each.completion_tokens, 1) for each in records])
    seconds = np.array([each.seconds for each in records])
    rates, *_ = np.linalg.lstsq(tokens, seconds, rcond=None)
    return [
        msgspec.structs.replace(record, seconds=max(0.0, float(took)))
        for record, took in zip(records, tokens @ rates, strict=True)
    ]


async def replay(synthesizer: Synthesizer, case: Case, candidates: Sequence[Record]) -> Outcome:
    """Have an answer made of all the candidates."""
    wanted: list[Sequence[Message]] = []

    async def generate(messages: Sequence[Message]) -> AsyncGenerator[Delta, None]:
        wanted.append(messages)
        raise BackendError("there is no model in a replay")
        yield

    answer = Choice()
    synthesis = await synthesizer.synthesize(
        case.question.question, [each.candidate for each in candidates], generate
    )
    async with closing(synthesis.answer) as deltas:
        async for delta in deltas:
            answer.add(delta)
    return Outcome(
        text=answer.text,
        score=case.score(answer.text),
        walked=len(candidates),
        seconds=sum(each.seconds for each in candidates),
        tokens=sum(computed(each) for each in candidates),
        wrote=bool(wanted),
        agreement=synthesis.agreement,
        supported=getattr(synthesis, "supported", None),
    )


async def replay_settling(synthesizer: Synthesizer, case: Case, candidates: Sequence[Record]) -> Outcome:
    """Walk the paths one after another until the synthesizer calls the answer clear: gate and early stop."""
    walked = [each.candidate for each in candidates]
    enough = next(
        (
            count
            for count in range(1, len(walked))
            if synthesizer.settled(case.question.question, walked[:count], len(walked))
        ),
        len(walked),
    )
    return await replay(synthesizer, case, candidates[:enough])


def best_of(case: Case, candidates: Sequence[Record]) -> Score:
    """Return the score of the best candidate by F1, as an oracle would choose."""
    scores = [case.score(each.text) for each in candidates]
    return max(scores, key=lambda each: (each.f1, each.contained, each.exact))


def computed(record: Record) -> int:
    """Count the tokens that had to be computed: the prompt's that were not cached, and the answer's."""
    return record.prompt_tokens - record.cached + record.completion_tokens


@asynccontextmanager
async def synthesizers(only: Sequence[str] = ()) -> AsyncIterator[dict[str, Synthesizer]]:
    """Open every synthesizer that is registered, or those of the given kinds, by kind."""
    config = build_config({})
    async with AsyncExitStack() as stack:
        components = Components()
        embedder = await stack.enter_async_context(
            components.use("embedder", config.embedder.provider, config.embedder.options)
        )
        opened = dict[str, Synthesizer]()
        for provider in config.plugins.providers("synthesizer"):
            if not only or provider.kind in only:
                held = components.use("synthesizer", provider, provider.config(), embedder)
                opened[provider.kind] = await stack.enter_async_context(held)
        yield opened
