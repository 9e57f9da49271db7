"""Finds every passage of a document that mentions something, cut down to the sentences that do."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from openkimi.covering import part_of
from openkimi.documents import Chunk
from openkimi.spans import sentences_of

_TERM = re.compile("[\u3400-\u9fff]+|[^\\W_\u3400-\u9fff]+(?:[-.'’][^\\W_\u3400-\u9fff]+)*")
_CJK = re.compile("[\u3400-\u9fff]")
_MOST_TERMS = 32
_LEAST_SHARE = 0.5
_SMALL = re.compile(
    "an?|the|and|or|for|with|from|to|of|in|on|at|by|as|that|this|these|those|its?|is|are|was|were|be|been"
    "|ha[sd]|have|do|does|did|not|no|any|all|each|every|what|which|who|whom|whose|where|when|how|many|much"
)


def mentions(chunks: Sequence[Chunk], subject: str) -> list[tuple[float, Chunk]]:
    """Return the parts of chunks that have most of a subject's words, rare ones weighing more, best first.

    Each comes with the share of the subject that it has; of equal shares the one that is more about it first.
    """
    terms = _terms(subject)
    lower = [chunk.text.lower() for chunk in chunks]
    weights = {term: _rarity(sum(term in text for text in lower), len(chunks)) for term in terms}
    total = sum(weights.values())
    found = list[tuple[float, float, Chunk]]()
    for chunk, text in zip(chunks, lower, strict=True):
        counts = {term: count for term in terms if (count := text.count(term))}
        share = sum(weights[term] for term in counts) / total if counts and total else 0.0
        if share >= _LEAST_SHARE:
            part = _around(chunk, text, list(counts))
            found.append((share, sum(counts.values()) / math.sqrt(len(part.text)), part))
    found.sort(key=lambda one: (-round(one[0], 2), -one[1]))
    return [(share, part) for share, _, part in found]


def _around(chunk: Chunk, text: str, terms: Sequence[str]) -> Chunk:
    """Cut a chunk down to what lies from the first sentence with a term to the last one."""
    spans = [
        (start, end)
        for start, end in sentences_of(chunk.text)
        if any(term in text[start:end] for term in terms)
    ]
    if not spans or len(text) != len(chunk.text):
        return chunk
    return part_of(chunk, spans[0][0], spans[-1][1])


def _terms(subject: str) -> list[str]:
    """List what to look for: the stems of words, and pairs of Chinese characters."""
    terms = list[str]()
    for term in _TERM.findall(subject.lower()):
        if _CJK.match(term):
            terms += [term[at : at + 2] for at in range(max(1, len(term) - 1))]
        elif not _SMALL.fullmatch(term):
            terms.append(_stem(term))
    return list(dict.fromkeys(terms))[:_MOST_TERMS]


def _stem(word: str) -> str:
    for ending in ("ies", "es", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) > 2 and not word.endswith("ss"):
            return word.removesuffix(ending)
    return word


def _rarity(count: int, total: int) -> float:
    return math.log(1 + total / count) if count else 0.0
