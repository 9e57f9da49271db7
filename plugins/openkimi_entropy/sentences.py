"""Finds where sentences end in English, Chinese and text that mixes them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from openkimi_entropy.lines import STEP, Check
from openkimi_entropy.scripts import is_cjk

_CLOSING = "\"'”’»)\\]）」』】》〉"
_FULL_WIDTH = frozenset("。！？｡．；")
_END = re.compile(rf"[.!?…。！？｡．；]+[{_CLOSING}]*")
_CLOSED = re.compile(rf"[。！？｡．；.!?…:：][{_CLOSING}]*$")
_WORD_BEFORE = re.compile(r"[^\s(\[“\"']+$")
_ABBREVIATED = (
    "al apr art aug ave bros ca cap capt cf ch chap co col comdr corp dec dept dr ed eds eq esp est etc feb "
    "fig figs gen gov hon inc jan jr jul jun lt ltd maj mar messrs mme mr mrs ms mt no nos nov oct op p par "
    "pl pp prof pt rep rev sec sen sept sgt sr st ste vol vols vs viz"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_LONGEST_END = 8


def sentence_ends(text: str, start: int, end: int, check: Check) -> Iterator[int]:
    """Yield the offsets inside ``text[start:end]`` where a sentence has ended, in order."""
    position = start
    while position < end:
        check()
        stop = min(end, position + STEP)
        found = _END.search(text, position, stop)
        if found is None:
            position = stop if stop == end else stop - _LONGEST_END
            continue
        position = found.end()
        if position < end and _is_end(text, found, end):
            yield position


def is_closed(text: str, start: int, end: int) -> bool:
    """Tell whether ``text[start:end]`` ends as a sentence does."""
    return _CLOSED.search(text, max(start, end - _LONGEST_END), end) is not None


def _is_end(text: str, found: re.Match[str], end: int) -> bool:
    """Tell the end of a sentence from a decimal point, an abbreviation and an ellipsis inside it."""
    signs, at = found[0], found.end()
    if not _FULL_WIDTH.isdisjoint(signs):
        return True
    if not text[at].isspace():
        return is_cjk(text[at])
    return signs != "." or not _goes_on(text, found.start(), text[at : min(end, at + 8)].lstrip()[:1])


def _goes_on(text: str, stop: int, following: str) -> bool:
    """Tell a full stop that ends no sentence: an abbreviation, an initial, a word in lower case next."""
    if following.islower():
        return True
    before = _WORD_BEFORE.search(text, max(0, stop - 24), stop)
    if before is None:
        return False
    word = before[0]
    return (len(word) == 1 and word.isupper()) or "." in word[:-1] or word.lower() in _ABBREVIATIONS
