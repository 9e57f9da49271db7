"""Chooses which sentences of the ranked passages are worth their tokens.

A passage far down the ranking is unlikely to hold the answer, and so is a sentence that shares nothing with
the question in the best of them: a prompt gets most evidence by taking, token for token, what is likeliest.
The first passages thus stay whole or nearly so; of later ones a few sentences make room for more of them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import msgspec

from openkimi.documents import Hit, Sentence

_FIRST_RANKS = 2.0
_DECLINE = 1.5
_GAP_TOKENS = 3
_MISSES = 12
_LEAST_ROOM = 8

Piece = tuple[int, int]
"""A passage's rank, from 0, and the number of a sentence in it."""


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """A ranked passage with the tokens of its heading and of each of its sentences."""

    hit: Hit
    heading: int
    sentences: tuple[Sentence, ...]
    tokens: tuple[int, ...]


def sentences_of(hit: Hit) -> tuple[Sentence, ...]:
    """Return the sentences of a passage; one that nobody has weighed is a single one."""
    return hit.sentences or (Sentence(0, len(hit.chunk.text), 1.0),)


def choose(ranked: Sequence[Sized], room: int, most: int | None) -> list[Hit]:
    """Choose excerpts of at most ``room`` tokens, of ``most`` passages, the most wanted passage first.

    Sentences are taken in the order of likelihood for each token they cost: that of their passage, which
    falls with its rank, times the sentence's share in it. One next to a chosen one costs no gap, one of a
    chosen passage no heading. Neighbours that were both chosen are one excerpt.
    """
    taken: dict[int, set[int]] = {}
    queue = [
        (-_worth(rank, sized, at) / _cost(sized, at, set()), rank, at)
        for rank, sized in enumerate(ranked)
        for at in range(len(sized.sentences))
    ]
    heapq.heapify(queue)
    misses = 0
    while queue and misses < _MISSES and room >= _LEAST_ROOM:
        _, rank, at = heapq.heappop(queue)
        sized, beside = ranked[rank], taken.get(rank, set())
        if at in beside or (most is not None and not beside and len(taken) >= most):
            continue
        cost = _cost(sized, at, beside)
        if cost > room:
            misses += 1
            continue
        room -= cost
        taken.setdefault(rank, set()).add(at)
        for near in (at - 1, at + 1):
            if 0 <= near < len(sized.sentences) and near not in beside:
                value = -_worth(rank, sized, near) / _cost(sized, near, taken[rank])
                heapq.heappush(queue, (value, rank, near))
    return [excerpt for rank in sorted(taken) for excerpt in _excerpts(ranked[rank], taken[rank])]


def _worth(rank: int, sized: Sized, at: int) -> float:
    return sized.sentences[at].weight / math.pow(_FIRST_RANKS + rank + 1, _DECLINE)


def _cost(sized: Sized, at: int, beside: set[int]) -> int:
    joined = at - 1 in beside or at + 1 in beside
    return max(1, sized.tokens[at]) + (0 if joined else _GAP_TOKENS) + (0 if beside else sized.heading)


def _excerpts(sized: Sized, chosen: set[int]) -> list[Hit]:
    """Make one excerpt of each run of sentences."""
    runs: list[list[int]] = []
    for at in sorted(chosen):
        if runs and runs[-1][-1] == at - 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    return [excerpt_of(sized.hit, run[0], run[-1]) for run in runs]


def excerpt_of(hit: Hit, first: int, last: int) -> Hit:
    """Cut a passage down to some of its sentences, without white space around them."""
    sentences = sentences_of(hit)[first : last + 1]
    if len(sentences) == len(sentences_of(hit)):
        return hit
    chunk = hit.chunk
    piece = chunk.text[sentences[0].start : sentences[-1].end]
    start = sentences[0].start + len(piece) - len(piece.lstrip())
    text = piece.strip()
    cut = msgspec.structs.replace(
        chunk, text=text, start=chunk.start + start, end=chunk.start + start + len(text)
    )
    moved = tuple(
        Sentence(max(0, each.start - start), min(len(text), each.end - start), each.weight)
        for each in sentences
    )
    return msgspec.structs.replace(hit, chunk=cut, sentences=moved)
