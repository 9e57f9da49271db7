"""Multi-path reasoning: several candidates over different contexts, made into one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec
import structlog

from openkimi.citing import Citing
from openkimi.contracts import Backend, Candidate, Synthesizer
from openkimi.degrading import blame
from openkimi.documents import Hit
from openkimi.messages import Delta, GenerateRequest, Usage
from openkimi.path_accounting import receipts_of
from openkimi.path_receipt import MprReceipt, PathReceipt
from openkimi.paths import Failed, Manner, Path, Walk, Walked
from openkimi.preparation import Prepared
from openkimi.progress import Progress
from openkimi.questioning import is_question
from openkimi.receipt import Receipt
from openkimi.sections import MprSection
from openkimi.spending import SharedPrompts
from openkimi.synthesis import AskModel, Synthesising
from openkimi.turn import Ask
from openkimi.wording import wording_of

N = TypeVar("N", int, float)

log = structlog.get_logger()


class Reasoner:
    """Walks paths and makes one answer of what they come to."""

    def __init__(self, *, backend: Backend, synthesizer: Synthesizer, mpr: MprSection) -> None:
        self._backend = backend
        self._synthesizer = synthesizer
        self._mpr = mpr

    async def answer(
        self,
        ask: Ask,
        prepared: Prepared,
        paths: Sequence[Path],
        citing: Citing,
        ask_model: AskModel,
        prompts: SharedPrompts,
        *,
        choice: int,
    ) -> AsyncGenerator[Delta | Receipt | Progress, None]:
        """Tell of each path that has ended, then yield the answer, with its receipt before its last delta.

        The last delta counts what all of it cost, but of ``prompts`` what another answer has not; what was
        written and is not shown counts as reasoning.

        Raises:
            BackendError: all paths failed, or the writing of an answer out of theirs broke off.
        """
        question = prepared.question
        walk = Walk(self._backend, paths, self._manner(ask, prepared), self._settled(question, len(paths)))
        async with aclosing(walk.steps()) as steps:
            async for step in steps:
                yield _progress(walk, step, choice if ask.n > 1 else None)
                if ask.mpr.drafts and isinstance(step, Walked):
                    yield Delta(reasoning=_draft(step.candidate))
        made = Synthesising(
            self._backend,
            self._synthesizer,
            kind=self._mpr.synthesis,
            ask_model=ask_model,
            constrained=is_constrained(ask.request),
        )
        async with aclosing(made):
            await made.begin(question, walk.walked)
            async with aclosing(self._made(made, walk, ask, prepared, citing, prompts, choice)) as events:
                async for event in events:
                    yield event

    async def _made(
        self,
        made: Synthesising,
        walk: Walk,
        ask: Ask,
        prepared: Prepared,
        citing: Citing,
        prompts: SharedPrompts,
        choice: int,
    ) -> AsyncGenerator[Delta | Receipt, None]:
        """Yield what was made of the paths, or that it is declined."""
        declined = made.supported is False and self._declines(ask, prepared)
        if declined:
            await made.aclose()
        answer = self._declining(prepared.turn.last) if declined else made.deltas()
        passages = () if declined else _read_for(walk.walked, made.chosen)
        async with aclosing(citing.follow(answer, passages, choice=choice)) as events:
            async for event in events:
                if not isinstance(event, Delta) or event.finish_reason is None:
                    yield event
                    continue
                synthesis = await made.spent()
                spent = walk.spent + synthesis
                reasoned = _reasoned(walk, made, choice=choice, declined=declined, usage=spent)
                dissenting = None if declined else made.dissenting
                paths_told = await _receipts(walk, prepared, dissenting, quotes=citing.wanted)
                reasoned = msgspec.structs.replace(reasoned, candidates=paths_told)
                yield citing.reason(reasoned, made.degraded)
                shown = Usage() if declined else await made.shown()
                counted = (prompts.once(at, usage) for at, usage in walk.usages.items())
                told = _told(sum(counted, start=synthesis), shown)
                yield msgspec.structs.replace(event, usage=told)

    def _manner(self, ask: Ask, prepared: Prepared) -> Manner:
        """Say how to walk: as the request wants it, within the configured limits."""
        wanted, mpr = ask.mpr, self._mpr
        gate = mpr.gate if wanted.gate is None else wanted.gate
        most = len(prepared.packs) if self._backend.concurrency is None else self._backend.concurrency
        return Manner(
            at_once=1 if self._backend.takes_turns else most,
            gate=self._backend.takes_turns if gate is None else gate,
            early_stop=mpr.early_stop if wanted.early_stop is None else wanted.early_stop,
            timeout=_smaller(mpr.timeout, wanted.timeout),
            max_total_tokens=_smaller(mpr.max_total_tokens, wanted.max_total_tokens),
            expected=prepared.budget.answer,
        )

    def _settled(self, question: str, paths: int) -> Callable[[Sequence[Candidate]], bool]:
        def settled(candidates: Sequence[Candidate]) -> bool:
            try:
                return bool(self._synthesizer.settled(question, candidates, paths))
            except Exception as error:
                log.warning("not_settled", reason=blame(self._synthesizer, "settled", error))
                log.debug("not_settled_because", exc_info=error)
                return False

        return settled

    def _declines(self, ask: Ask, prepared: Prepared) -> bool:
        """Tell whether to say so where nothing that was read bears the answer out."""
        wanted = ask.mpr.on_unsupported or self._mpr.on_unsupported
        read = any(packed.passages for packed in prepared.packs)
        constrained = is_constrained(ask.request)
        asked = is_question(prepared.turn.last) and prepared.receipt.mode != "summary"
        return wanted == "decline" and read and not constrained and asked

    async def _declining(self, question: str) -> AsyncGenerator[Delta, None]:
        yield Delta(content=self._mpr.declining or wording_of(question).declining)
        yield Delta(finish_reason="stop")


def _smaller(one: N | None, other: N | None) -> N | None:
    """Return the limit that holds where there may be two."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def is_constrained(request: GenerateRequest) -> bool:
    """Tell whether an answer has a form that it would lose if it was written anew."""
    may_call = bool(request.tools) and request.tool_choice.mode != "none"
    return may_call or request.response_format.type != "text"


def _reasoned(walk: Walk, made: Synthesising, *, choice: int, declined: bool, usage: Usage) -> MprReceipt:
    return MprReceipt(
        choice=choice,
        planned=walk.planned,
        walked=len(walk.walked) + len(walk.failed),
        stopped=walk.stopped,
        chosen=None if declined else made.chosen,
        agreement=None if made.agreement is None else round(made.agreement, 4),
        supported=made.supported,
        declined=declined,
        usage=usage,
    )


async def _receipts(
    walk: Walk, prepared: Prepared, dissenting: tuple[int, ...] | None, *, quotes: bool
) -> tuple[PathReceipt, ...]:
    """Draw up the receipts of the paths; should that fail the answer goes without."""
    try:
        return await asyncio.to_thread(
            receipts_of, walk.walked, walk.failed, prepared.turn, dissenting=dissenting, quotes=quotes
        )
    except Exception as error:
        log.warning("path_receipts_failed", error=type(error).__name__)
        log.debug("path_receipts_failed_because", exc_info=error)
        return ()


def _progress(walk: Walk, step: Walked | Failed, choice: int | None) -> Progress:
    done = len(walk.walked) + len(walk.failed)
    return Progress(stage="reasoning", done=done, total=walk.planned, spent=step.usage, choice=choice)


def _draft(candidate: Candidate) -> str:
    calls = (f"{call.name}({call.arguments})" for call in candidate.tool_calls)
    text = "\n".join(part for part in (candidate.text.strip(), *calls) if part)
    return f"[{candidate.index + 1}] {text}\n\n"


def _read_for(walked: Sequence[Walked], chosen: int | None) -> tuple[Hit, ...]:
    """Return the passages behind the answer: those of the chosen path, of all where it was written anew."""
    read = {
        hit.place: hit for path in walked if chosen in {None, path.index} for hit in path.candidate.context
    }
    return tuple(read.values())


def _told(spent: Usage, shown: Usage) -> Usage:
    """Count as reasoning what was written and is not shown, beside what the shown answer has of it."""
    unseen = max(0, spent.completion_tokens - shown.completion_tokens)
    return msgspec.structs.replace(spent, reasoning_tokens=unseen + shown.reasoning_tokens)
