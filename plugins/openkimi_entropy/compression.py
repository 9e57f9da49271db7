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

# Measured on handbooks and a speech, English and Chinese: deflate spends about 12 bytes however short a text
# is, then 0.375 for each byte of English prose, a quarter more for Chinese (three bytes a sign), and half as
# much again where no text comes before; that fades over 4 KB.
_START_UP = 12
_USUAL, _USUAL_CJK = 0.375, 0.465
_UNPRIMED, _FADES_OVER = 0.5, 4_000


def compression_density(text: str, passages: Sequence[Passage], check: Check) -> list[float]:
    """Score passages: 0 for what was said before, 0.5 for usual prose, 1 for what nothing foretells.

    The rate of a passage is divided by the usual one for its mix of scripts and its place, so that English
    and Chinese compare, and the beginning of a text is not denser for being first.
    """
    # One stream, flushed after each passage, looks back 32 KiB by itself.
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    scores, read, end = [], 0, 0
    for passage in passages:
        check()
        fresh = text[max(passage.start, end) : passage.end]
        data = fresh.encode("utf-8", "replace")
        size = len(deflate.compress(data)) + len(deflate.flush(zlib.Z_SYNC_FLUSH))
        rate = max(0, size - _START_UP) / len(data)
        scores.append(min(1.0, rate / (2 * _usual_rate(fresh, read))))
        read, end = read + len(data), passage.end
    return scores


def _usual_rate(text: str, read: int) -> float:
    """Estimate what a byte of prose costs after ``read`` bytes."""
    share = count_cjk(text) / len(text)
    usual = _USUAL + (_USUAL_CJK - _USUAL) * share
    return usual * (1 + _UNPRIMED * math.exp(-read / _FADES_OVER))
