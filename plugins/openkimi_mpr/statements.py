"""What candidates state, in a form in which two of them can be compared."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from openkimi import Candidate, ToolCall
from openkimi_mpr.declining import declines
from openkimi_mpr.words import f1, words_of

_ALIKE = 0.5
_THOUGHTS_END = "</think>"
_NO_ANSWER_OF_ITS_OWN = frozenset({"yes", "no", "not", "none", "true", "false", "不", "是", "否", "没有"})
_YES = re.compile(
    r"\W*(?:(?:yes|yeah|true|correct)\b|(?:是的?|对的?|正确|会|能|可以|有)(?=\W|$))", re.IGNORECASE
)
_NO = re.compile(
    r"\W*(?:(?:no|false|incorrect)(?=\s*(?:[,.;:!]|$))|(?:不(?:是的?|对|正确|会|能|可以)?|否|没有)(?=\W|$))",
    re.IGNORECASE,
)

Signature = tuple[tuple[str, str], ...]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What one candidate states.

    ``words`` are those that the question does not have, all where it has them all. ``calls`` are its tool
    calls by name and arguments. ``verdict`` is what an answer begins with that says yes or no first.
    ``ended`` is False for one that was cut off.
    """

    words: tuple[str, ...]
    calls: Signature = ()
    verdict: bool | None = None
    declines: bool = False
    ended: bool = True

    def alike(self, other: Statement) -> float:
        """Compare by F1 of the words, from 0 to 1.

        Answers that decline are alike whatever their words, a yes and a no are not.
        """
        if self.calls != other.calls or self.declines != other.declines or self.contradicts(other):
            return 0.0
        return 1.0 if self.declines else f1(Counter(self.words), Counter(other.words))

    def agrees(self, other: Statement) -> bool:
        """Tell whether both say the same.

        Half of their words are common, or one is a short answer that the other contains, and the numbers in
        one are not all others than those in the other. One that was cut off may also just begin alike: what
        it says beyond the length of one that ended is left out.
        """
        return _say_the_same(self, other) or _say_the_same(self.as_far_as(other), other.as_far_as(self))

    def as_far_as(self, other: Statement) -> Statement:
        """Return the beginning, as long as another one that ended, of one that was cut off."""
        if self.ended or not other.ended or len(self.words) <= len(other.words):
            return self
        return msgspec.structs.replace(self, words=self.words[: len(other.words)])

    def contradicts(self, other: Statement) -> bool:
        """Tell whether one says yes and the other no, or both give numbers and none in common."""
        if self.verdict is not None and other.verdict is not None and self.verdict != other.verdict:
            return True
        mine, others = _numbers(self.words), _numbers(other.words)
        return bool(mine and others) and not mine & others


def statement_of(candidate: Candidate, question: str) -> Statement:
    """Read what a candidate states in answer to a question."""
    text = conclusion_of(candidate.text)
    return Statement(
        words=tuple(news_of(text, frozenset(words_of(question)))),
        calls=signature(candidate.tool_calls),
        verdict=True if _YES.match(text) else False if _NO.match(text) else None,
        declines=not candidate.tool_calls and declines(text),
        ended=has_ended(candidate),
    )


def has_ended(candidate: Candidate) -> bool:
    """Tell an answer that came to its end from one that ``max_tokens`` or a server's filter cut off."""
    return candidate.finish_reason not in {"length", "content_filter"}


def conclusion_of(text: str) -> str:
    """Leave out what a model thinks aloud before it answers."""
    return text.rpartition(_THOUGHTS_END)[2]


def news_of(text: str, asked: Collection[str]) -> list[str]:
    """List the words of a text without those that were asked with; all where nothing is left.

    The same content in JSON has the same words.
    """
    words = words_of(canonical(text))
    return [word for word in words if word not in asked] or words


def canonical(text: str) -> str:
    """Write JSON objects and arrays in one way; other text stays as it is."""
    parsed = parse_json(text)
    return text if parsed is None else json.dumps(parsed, sort_keys=True, ensure_ascii=False)


def parse_json(text: str) -> object | None:
    """Read a text that is a JSON object or array, None for any other."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


def signature(calls: Sequence[ToolCall]) -> Signature:
    """Tell tool calls apart by name and arguments, however those are written."""
    return tuple((call.name, canonical(call.arguments)) for call in calls)


def _say_the_same(one: Statement, other: Statement) -> bool:
    if one.calls != other.calls or one.declines != other.declines or one.contradicts(other):
        return False
    return one.alike(other) >= _ALIKE or _contains(one.words, other.words)


def _numbers(words: Sequence[str]) -> frozenset[str]:
    return frozenset(word for word in words if word[0].isdecimal())


def _contains(one: Sequence[str], other: Sequence[str]) -> bool:
    short, long = sorted((list(one), list(other)), key=len)
    if not short or not set(short) - _NO_ANSWER_OF_ITS_OWN:
        return False
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))
