"""How right an answer is, in numbers from 0 to 1: SQuAD's measures, for Chinese by characters, and by parts.

Exact match and F1 follow SQuAD's evaluation (Rajpurkar et al., arXiv 1606.05250): lower case, no punctuation,
no articles. Chinese is cut into characters. Character F1 flatters wrong answers that look alike, so exact
match and contained stand beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import msgspec

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNIT = re.compile(rf"[{_CHINESE}]|[^\W_{_CHINESE}]+")
_ARTICLES = frozenset({"a", "an", "the"})
_GROUPED = re.compile(r"(?<=\d)[,，](?=\d{3})")
_BETWEEN_PARTS = re.compile(r"\s*(?:[;；,，、]|\band\b|和)\s*(?:\band\b\s*)?")
_TWO_PARTS = re.compile(r"\s*[;；]\s*")
_NOT_SAID = (
    "sa(?:y|id)|stated?|mention(?:ed)?|specif(?:y|ied)|provided?|contain(?:ed)?|t(?:ell|old)|give(?:n)?|included?"
    "|indicated?|disclosed?|answer(?:ed)?|determined?|f(?:ind|ound)|known|available"
)
_ABSENT = re.compile(
    rf"""
    (?:\bnot|n['’]t|\bcannot)\s+(?:\w+\s+){{0,2}}(?:{_NOT_SAID})\b
    | \bnot\s+(?:\w+\s+)?in\s+the\s+(?:text|document|passage|excerpt|context)
    | \bno\s+(?:\w+\s+){{0,2}}(?:information|mention|answer|evidence|details?)\b
    | \bunable\s+to\s+(?:{_NOT_SAID})\b
    | ^\W*(?:unknown|unanswerable|n/a|未知|不详)\W*$
    | (?:没有|未|无法|不能|找不到|没)(?:有|能|明确|直接|具体|任何){{0,2}}
      (?:提到|提及|说|指出|给出|提供|包含|涉及|写|列出|找到|确定|得知|回答|记载|相关|信息|答案)
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How right an answer is: ``exact``, ``f1`` and whether an accepted answer is ``contained`` in it."""

    exact: float
    f1: float
    contained: float

    @property
    def values(self) -> tuple[float, float, float]:
        """The three numbers."""
        return self.exact, self.f1, self.contained


def score(answer: str, accepted: Sequence[str], kind: str) -> Score:
    """Score an answer to a question of that kind.

    One to an ``absent`` question is right when it says that the document does not say it. Of answers of
    several parts, to ``enumerate`` and two-part questions, ``contained`` is the share of parts in the answer.
    """
    if kind == "absent":
        right = float(says_absent(answer))
        return Score(exact=right, f1=right, contained=right)
    return Score(
        exact=max(exact(answer, gold) for gold in accepted),
        f1=max(f1(answer, gold) for gold in accepted),
        contained=max(_contained(answer, parts_of(gold, kind)) for gold in accepted),
    )


def exact(answer: str, gold: str) -> float:
    """Tell whether two answers are the same but for what does not count."""
    return float(units_of(answer) == units_of(gold))


def f1(answer: str, gold: str) -> float:
    """Return the harmonic mean of the shares of words, or Chinese characters, that two answers share."""
    said, wanted = Counter(units_of(answer)), Counter(units_of(gold))
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def contains(answer: str, gold: str) -> bool:
    """Tell whether all of a text stands in an answer, in one piece."""
    said, wanted = units_of(answer), units_of(gold)
    found = (said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))
    return bool(wanted) and any(found)


def parts_of(gold: str, kind: str) -> list[str]:
    """Cut an accepted answer into the parts that have to be said."""
    if kind == "enumerate":
        return [part for part in _BETWEEN_PARTS.split(gold) if part]
    return [part for part in _TWO_PARTS.split(gold) if part] if kind == "multi" else [gold]


def says_absent(answer: str) -> bool:
    """Tell whether an answer says that the document does not say it."""
    return _ABSENT.search(answer) is not None


def units_of(text: str) -> list[str]:
    """Cut a text into words and Chinese characters, without what does not count."""
    plain = _GROUPED.sub("", unicodedata.normalize("NFKC", text).lower())
    return [unit for unit in _UNIT.findall(plain) if unit not in _ARTICLES]


def _contained(answer: str, parts: Sequence[str]) -> float:
    return sum(contains(answer, part) for part in parts) / len(parts)
