"""One answer of several candidates, by choosing.

Small models lose more by merging texts than they gain: over relevant contexts the best synthesis measured
was selection, one to nine points of F1 under an oracle's choice. Self-consistency in general does not help
long-context questions much (arXiv 2411.01101), so expect little where one path is good already.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from openkimi import (
    BackendError,
    Candidate,
    Delta,
    Generate,
    Synthesis,
    Synthesizer,
    ToolCallDelta,
)
from openkimi_mpr.agreement import (
    alikeness,
    groups_of,
    mean_alikeness,
    medoid,
    most_common_kind,
    parse_json,
)
from openkimi_mpr.drafts import messages_of
from openkimi_mpr.support import support_of
from openkimi_mpr.words import words_of

_LEAST_WEIGHT = 0.25
_LONG = 40
_ENOUGH_DRAFTS = 3


class MajoritySynthesizer(Synthesizer):
    """Chooses the candidate that is most like all others.

    Self-consistency (Wang et al., arXiv 2203.11171) for free text: the medoid under F1 takes the place of the
    vote. What a candidate read does not count.
    """

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        """Choose by agreement only."""
        voters = _voters(candidates)
        table = alikeness([candidate.text for candidate in voters])
        chosen = voters[medoid(range(len(voters)), table, [1.0] * len(voters))]
        return _chosen(chosen, candidates)


class HierarchicalSynthesizer(Synthesizer):
    """Groups the candidates that agree and chooses from the weightiest group.

    A group weighs what its members' support adds up to; of the group its medoid is taken as it is. The model
    writes a new text only from at least three long drafts of which no two agree.
    """

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        """Choose by agreement and support, or have disagreeing long drafts written into one."""
        voters = _voters(candidates)
        texts = [candidate.text for candidate in voters]
        table = alikeness(texts)
        weights = [_weight(candidate, question) for candidate in voters]
        groups = groups_of(texts, table)
        best = max(groups, key=lambda group: sum(weights[at] for at in group))
        chosen = voters[medoid(best, table, weights)]
        if len(groups) == len(voters) >= _ENOUGH_DRAFTS and all(map(_is_long_draft, voters)):
            answer = _written(question, voters, generate, chosen)
            return Synthesis(answer=answer, chosen=None, agreement=_agreement(candidates))
        return _chosen(chosen, candidates)


def _voters(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Keep the candidates of the most frequent kind that say something, valid JSON where there is any."""
    voters = most_common_kind(_saying_something(candidates))
    structured = [candidate for candidate in voters if parse_json(candidate.text) is not None]
    return structured or voters


def _saying_something(candidates: Sequence[Candidate]) -> list[Candidate]:
    speaking = [candidate for candidate in candidates if candidate.text.strip() or candidate.tool_calls]
    return speaking or list(candidates)


def _weight(candidate: Candidate, question: str) -> float:
    return _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * support_of(candidate, question)


def _is_long_draft(candidate: Candidate) -> bool:
    """Tell prose from tool calls, JSON (cut off or not) and short answers, which are only chosen."""
    if candidate.tool_calls or candidate.text.lstrip().startswith(("{", "[", "```")):
        return False
    return len(words_of(candidate.text)) >= _LONG


def _agreement(candidates: Sequence[Candidate]) -> float:
    return mean_alikeness(alikeness([_said(candidate) for candidate in candidates]))


def _said(candidate: Candidate) -> str:
    calls = (f"{call.name} {call.arguments}" for call in candidate.tool_calls)
    return "\n".join((candidate.text, *calls))


def _chosen(candidate: Candidate, candidates: Sequence[Candidate]) -> Synthesis:
    return Synthesis(answer=_replayed(candidate), chosen=candidate.index, agreement=_agreement(candidates))


async def _replayed(candidate: Candidate) -> AsyncIterator[Delta]:
    if candidate.text:
        yield Delta(content=candidate.text)
    if candidate.tool_calls:
        calls = (
            ToolCallDelta(index=index, id=call.id, name=call.name, arguments=call.arguments)
            for index, call in enumerate(candidate.tool_calls)
        )
        yield Delta(tool_calls=tuple(calls))
    yield Delta(finish_reason=candidate.finish_reason)


async def _written(
    question: str, drafts: Sequence[Candidate], generate: Generate, fallback: Candidate
) -> AsyncIterator[Delta]:
    """Stream what the model writes from the drafts; the chosen draft if it fails before its first word."""
    deltas = generate(messages_of(question, [draft.text for draft in drafts]))
    started = False
    try:
        async for delta in deltas:
            started = True
            yield delta
    except BackendError:
        if started:
            raise
        async for delta in _replayed(fallback):
            yield delta
    finally:
        if isinstance(deltas, AsyncGenerator):
            await deltas.aclose()
