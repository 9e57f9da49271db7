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
_ABSENT = re.compile(
    r"""
    \b(?: (?:does|do|did|is|was|are|were|has|have|had|can|could) (?:\s+not|n['’]t)
    | cannot | not | no | none | nothing | never | without | unable | unknown | unclear )\b
      .{0,60}?
    \b(?: say | says | state[sd]? | mention(?:s|ed)? | specif(?:y|ies|ied) | provide[sd]? | contain[s]? | tell[s]?
    | give[ns]? | include[sd]? | found | find | answer(?:ed)? | information | detail[s]? | document | text
    | known | available | indicate[sd]? | determine[d]? | disclosed | stated )\b
    | (?:没有|未|并未|并没有|不|无法|没|找不到)[^。！？]{0,12}
      (?:提到|提及|说明|说|指出|给出|提供|包含|涉及|写明|列出|找到|信息|答案|内容|确定|得知|知道|回答|记载|明确)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
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
    """Return the harmonic mean of the shares of words, or Chinese characters, that two answers have in common."""
    said, wanted = Counter(units_of(answer)), Counter(units_of(gold))
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def contains(answer: str, gold: str) -> bool:
    """Tell whether all of a text stands in an answer, in one piece."""
    said, wanted = units_of(answer), units_of(gold)
    return any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


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
