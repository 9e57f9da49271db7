"""The units that texts are compared by: words, and pairs of characters where no spaces are written."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNIT = re.compile(rf"[{_UNSPACED}]+|(?:[^\W_{_UNSPACED}]|(?<=\d)[.,](?=\d))+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_FUNCTION_WORDS = """
    a an the of to in on at by for with and or is are was were be been it its this that these those as from
    which what who when where how why do does did there their his her he she they i you we
    的 了 是 在 和 与 及 或 吗 呢
"""
_EMPTY = frozenset(_FUNCTION_WORDS.split())


def words_of(text: str) -> list[str]:
    """Cut a text into lower-case words and pairs of characters, function words left out."""
    words = tokens_of(text)
    return [word for word in words if word not in _EMPTY] or words


def tokens_of(text: str) -> list[str]:
    """Cut a text into lower-case words and pairs of characters, all of them."""
    tokens: list[str] = []
    for unit in _UNIT.findall(unicodedata.normalize("NFKC", text).lower()):
        tokens.extend(_pairs(unit) if _IS_UNSPACED.match(unit) else [unit.replace(",", "")])
    return tokens


def f1(one: Counter[str], other: Counter[str]) -> float:
    """Score how alike two bags of words are, from 0 to 1, as SQuAD scores answers (arXiv 1606.05250)."""
    if not one or not other:
        return float(one == other)
    return 2 * (one & other).total() / (one.total() + other.total())


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] if len(run) > 1 else [run]
