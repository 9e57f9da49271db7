"""Tells questions, which a text may not answer, from other requests, which it need not.

In English and Chinese, and rather not than wrongly: what is not recognised as a question is answered.
"""

from __future__ import annotations

import re

from openkimi import questioning_chinese as chinese
from openkimi import questioning_english as english

_LONGEST_QUOTE = 500
_QUOTED = re.compile(
    "|".join(
        f"{begin}[^{end}\\n]{{0,{_LONGEST_QUOTE}}}{end}"
        for begin, end in ('""', "“”", "‘’", "「」", "『』", "《》", "``")
    )
)
_BLANKS = re.compile(r"[^\S\n]+")
_SENTENCE_END = re.compile(r"(?<=[?？!！。；;\n])|(?<=\.)\s")


def is_question(text: str) -> bool:
    """Tell whether a text asks for something that another one may state, in English or Chinese.

    "Write a poem about it" does not, nor does "Could you write one?": no text could bear the answer out. One
    such request among questions is enough, and what is quoted asks nothing.
    """
    unquoted = _QUOTED.sub(" ", text)
    # Patterns that begin with blanks would be tried at each of a long run of them.
    text = _BLANKS.sub(" ", unquoted if re.search(r"\w", unquoted) else text)
    sentences = [sentence for part in _SENTENCE_END.split(text) if (sentence := part.strip())]
    asks = any(english.asks(sentence) or chinese.asks(sentence) for sentence in sentences)
    return asks and not any(english.requests(each) or chinese.requests(each) for each in sentences)
