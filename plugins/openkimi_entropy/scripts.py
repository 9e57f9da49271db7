"""Chinese, Japanese and Korean signs: how much a stretch of text weighs, and what its terms are."""

from __future__ import annotations

import re
from collections.abc import Iterator

CJK = "\u2e80-\u2fff\u3001-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""The inside of a character class: ideographs, kana, hangul and their full-width punctuation."""

_CJK = re.compile(f"[{CJK}]")
_RUN = re.compile(
    r"(?P<cjk>[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+)"
    r"|(?P<word>[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+)"
)


def count_cjk(text: str) -> int:
    """Count the signs of a text that fill a square; quick for ASCII."""
    return 0 if text.isascii() else len(text) - len(_CJK.sub("", text))


def is_cjk(character: str) -> bool:
    """Tell whether a character fills a square."""
    return _CJK.match(character) is not None


def terms(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the terms of a text, each with whether it is CJK.

    Terms are words in lower case, and single signs and pairs of neighbours where a script sets no spaces.
    """
    for run in _RUN.finditer(text):
        if word := run["word"]:
            yield word.lower(), False
            continue
        signs = run["cjk"]
        for at, sign in enumerate(signs):
            yield sign, True
            if at:
                yield signs[at - 1 : at + 1], True
