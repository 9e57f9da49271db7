"""Tells questions, which a text may not answer, from other requests, which it need not."""

from __future__ import annotations

import re

_ENGLISH = re.compile(
    r"(?:(?:and|so|then|but|also)\s+)?"
    r"(?:(?:(?:in|at|on|from|by|to|for|of|under|with)\s+)?(?:who|whom|whose|what|when|where|which|why|how)\b"
    r"|(?:is|are|was|were|do|does|did|has|have|had)\s)",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    "[吗呢]|什么|谁|哪|(?<![这那好前后用写举列出说讲起取来])几(?!乎)|多少|多[大长高久远]|怎|为何|何[时处人]|是否|"
    "有没有|是不是"
)


def is_question(text: str) -> bool:
    """Tell whether a text asks for something that another one may state, in English or Chinese.

    "Write a poem about it" does not: no text could bear the answer out.
    """
    return any(mark in text for mark in "?？") or bool(_ENGLISH.match(text.strip()) or _CHINESE.search(text))
