"""Recognises questions that a few passages cannot answer: summaries, enumerations, comparisons.

In English and Chinese, and rather not than wrongly: what is not recognised is searched as any question.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from openkimi import intent_chinese as chinese
from openkimi import intent_english as english

Kind = Literal["lookup", "summary", "enumeration", "comparison"]

_LONGEST = 200
"""Characters of a sentence beyond which it is no plain request for the whole."""
_CJK = re.compile("[\u3400-\u9fff]")
_SENTENCE_END = re.compile(r"(?<=[?？!！。；\n])\s*|(?<=[.])(?<!\bvs\.)\s+(?=[A-Z])")
_LEAD = re.compile(
    r"^(?:(?:(?:please\s+now|now|then|next|first|finally|also|and|so|ok|okay|well|thanks|thank\s+you|great)\b(?!\s+to\b)"
    r"|(?:接下来|现在|然后|接着|那么|首先|最后|另外|再|好的?|谢谢|那(?=[请把列总概比]))(?!的))[\s,.;:!，。；：！]*)+",
    re.IGNORECASE,
)
"""What joins a request to what went before and says nothing itself."""
_QUOTES = " \t\"'“”‘’「」『』《》,，:：;；"
_EDGES = re.compile(
    r"^(?:both|either|the|an?)\s+|^(?:说说|谈谈|讲讲|请问|请|试|简述|文中|书中|书里)\s*"
    r"|\s*(?:please|for\s+me|之间|的|吗|呢|一下)$",
    re.IGNORECASE,
)


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What a question asks of a text.

    ``subject`` is what is to be enumerated, ``sides`` are the two things to be compared, in the question's
    words. ``several`` texts are asked for where the question says so.
    """

    kind: Kind = "lookup"
    subject: str = ""
    sides: tuple[str, ...] = ()
    several: bool = False


LOOKUP = Intent()


def intent_of(question: str) -> Intent:
    """Tell what a question asks; where one sentence asks for the whole and another for a thing: the thing."""
    asked = LOOKUP
    for sentence in filter(None, map(str.strip, _SENTENCE_END.split(question))):
        found = LOOKUP if len(sentence) > _LONGEST else _recognise(sentence.rstrip("?？!！.。").strip())
        if found is LOOKUP and sentence.endswith(("?", "？")):
            return LOOKUP
        asked = asked if found is LOOKUP else found
    return asked


def _recognise(sentence: str) -> Intent:
    language = chinese if _CJK.search(sentence) else english
    sentence = _LEAD.sub("", sentence)
    if language.COMPARED.fullmatch(sentence):
        return Intent(kind="summary", several=True)
    if language.asks_for_summary(sentence):
        return Intent(kind="summary", several=language.SEVERAL.search(sentence) is not None)
    for pattern in language.COMPARISONS:
        if match := pattern.search(sentence):
            sides = (_tidy(match["one"]), _tidy(match["other"]))
            return Intent(kind="comparison", sides=sides) if all(sides) else LOOKUP
    for pattern in language.ENUMERATIONS:
        if match := pattern.search(sentence):
            named = next(filter(None, match.groupdict().values()), "")
            return Intent(kind="enumeration", subject=_tidy(language.FRAME.sub(" ", named)) or sentence)
    return LOOKUP


def _tidy(text: str) -> str:
    return _EDGES.sub("", text.strip(_QUOTES)).strip(_QUOTES)
