"""Density by compression: how much of a passage the text before it does not foretell.

The deflated size of a passage given the 32 KiB before it approximates its conditional Kolmogorov complexity,
as in the normalised compression distance (Cilibrasi, Vitányi, "Clustering by Compression", 2005).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from openkimi_entropy.chunking import Passage
from openkimi_entropy.lines import Check
from openkimi_entropy.scripts import count_cjk

WINDOW = 32_768
"""How far deflate looks back, in bytes."""

# Measured on handbooks and a speech, English and Chinese: deflate spends about 20 bytes however short a text
# is, then 0.36 for each byte of English prose, a quarter more for Chinese (three bytes a sign), and half as
# much again where no text comes before; that fades over 4 KB.
_START_UP = 20
_USUAL, _USUAL_CJK = 0.36, 0.45
_UNPRIMED, _FADES_OVER = 0.5, 4_000


def compression_density(text: str, passages: Sequence[Passage], check: Check) -> list[float]:
    """Score passages: 0 for what was said before, 0.5 for usual prose, 1 for what nothing foretells.

    The rate of a passage is divided by the usual one for its mix of scripts and its place, so that English
    and Chinese compare, and the beginning of a text is not denser for being first.
    """
    scores = []
    for passage in passages:
        check()
        before = text[max(0, passage.start - WINDOW) : passage.start].encode("utf-8", "replace")
        scores.append(_density(text[passage.start : passage.end], before[-WINDOW:]))
    return scores


def _density(text: str, before: bytes) -> float:
    data = text.encode("utf-8", "replace")
    size = max(0, _deflated(data, before) - _START_UP)
    share = count_cjk(text) / len(text)
    usual = _USUAL + (_USUAL_CJK - _USUAL) * share
    usual *= 1 + _UNPRIMED * math.exp(-len(before) / _FADES_OVER)
    return min(1.0, size / len(data) / (2 * usual))


def _deflated(data: bytes, before: bytes) -> int:
    """Count the bytes of a raw deflate stream that has read ``before`` already."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return len(deflate.compress(data)) + len(deflate.flush())
