"""A tokenizer that needs no vocabulary."""

from __future__ import annotations

import re

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{CJK}]|[^\W{CJK}]+|\s+|[^\w\s]+")


def tokenize(text: str) -> list[str]:
    """Cut a text into words, CJK characters and runs of punctuation or white space.

    The tokens joined give the text. Counts do not add up across joins, as with a real tokenizer.
    """
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """Count the tokens of a text of any length without holding up other threads for long."""
    return sum(1 for _ in _TOKEN.finditer(text))
