"""Different contexts for several reasoning paths.

All but ``random`` read passages that matter to the question and nothing else: contexts of random or merely
dense passages add wrong votes (measured on this project's questions; see also Self-MoA, arXiv 2502.00674,
where one good source sampled repeatedly beats mixed sources). So what varies is which relevant passages come
first, and how many there are; those that hardly matter stay last in every context that has them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from openkimi import ContextSampler, Hit
from openkimi_mpr.words import words_of

_RELEVANT = 0.5
_FEWEST = 8
_TEMPERATURE = 0.25
_RELEVANCE_SHARE = (0.5, 0.85)
_DENSITY_SHARE = (0.5, 1.0)
_CUTOFFS = (1, None, 2, 4, 8, 6, 12, 16)


class RelevanceSampler(ContextSampler):
    """Draws each context's order at random, the likelier to come early the higher a passage scores.

    The order is drawn without replacement with probabilities that grow with the score (Plackett-Luce, by the
    Gumbel trick: Kool et al., "Stochastic beams and where to find them", 2019); the temperature is low, so
    neighbours change places and the best seldom leave the front.
    """

    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        """Order the hits ``n`` times, first as they are."""
        relevant, rest = _split(hits)
        others = ((*_drawn(relevant, _source(seed, number)), *rest) for number in range(1, n))
        return [tuple(hits), *others]


class RandomSampler(ContextSampler):
    """Draws each context's order evenly among all hits, relevant or hardly so.

    Bagging (Breiman, 1996) with passages in place of training examples. It is the baseline that the others
    have to beat: most of its contexts lack what answers the question, and their votes are wrong ones.
    """

    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        """Order the hits ``n`` times, first as they are."""
        others = (_source(seed, number).sample(hits, len(hits)) for number in range(1, n))
        return [tuple(hits), *map(tuple, others)]


class EntropySampler(ContextSampler):
    """Orders the relevant passages of each context by score and information density.

    Density is what the processor gave each chunk, by default its size when compressed after the text before
    it. Both are scaled to [0, 1] and added (CombSUM of Fox and Shaw, "Combination of multiple searches",
    1994); the share of density is drawn between 0.5 and 1. Density does not know the question, so that the
    first passages are full of facts, asked for or not.
    """

    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        """Order the hits ``n`` times, first as they are."""
        relevant, rest = _split(hits)
        scores = _scaled([hit.score for hit in relevant])
        densities = _scaled([hit.chunk.density for hit in relevant])
        contexts: list[Sequence[Hit]] = [tuple(hits)]
        for number in range(1, n):
            share = _source(seed, number).uniform(*_DENSITY_SHARE)
            value = [(1 - share) * one + share * other for one, other in zip(scores, densities, strict=True)]
            order = sorted(range(len(relevant)), key=lambda at: (-value[at], at))
            contexts.append((*(relevant[at] for at in order), *rest))
        return contexts


class CutoffSampler(ContextSampler):
    """Ends each context at its own rank: after the best passage, nowhere, after the best 2, 4 and so on.

    A cutoff is the k of precision@k. Few passages come whole where many come as single sentences, and small
    models are led astray by less; many miss less. The shortest comes first, as it costs least and agrees with
    the whole least by chance. After eight cutoffs they begin anew, over passages drawn as
    :class:`RelevanceSampler` does.
    """

    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        """Take the best hits ``n`` times, first all of them."""
        relevant, rest = _split(hits)
        contexts: list[Sequence[Hit]] = [tuple(hits)]
        for number in range(n - 1):
            again, at = divmod(number, len(_CUTOFFS))
            order = (*_drawn(relevant, _source(seed, number)), *rest) if again else hits
            contexts.append(tuple(order[: _CUTOFFS[at]]))
        return contexts


class DiversitySampler(ContextSampler):
    """Takes fewer or more passages for each context by maximal marginal relevance, with its own trade-off.

    A passage's place depends on its score and on how many of its words stand in the passages before it:
    Carbonell and Goldstein, "The use of MMR, diversity-based reranking" (SIGIR 1998). The best passage is
    first in every context; the share of relevance against novelty is drawn between 0.5 and 0.85. Orders
    alone hardly change what a prompt of many passages holds, so that each ends at a cutoff of its own, as in
    :class:`CutoffSampler`; after eight cutoffs the orders go on whole.
    """

    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        """Order the hits ``n`` times, first as they are."""
        if n == 1:
            return [tuple(hits)]
        relevant, rest = _split(hits)
        likeness = _likeness(relevant)
        contexts: list[Sequence[Hit]] = [tuple(hits)]
        for number in range(1, n):
            order = _mmr(relevant, likeness, _source(seed, number).uniform(*_RELEVANCE_SHARE))
            cutoff = _CUTOFFS[number - 1] if number <= len(_CUTOFFS) else None
            contexts.append((*(relevant[at] for at in order), *rest)[:cutoff])
        return contexts


def _split(hits: Sequence[Hit]) -> tuple[Sequence[Hit], Sequence[Hit]]:
    """Tell the hits with at least half the best score, eight at the least, from the others."""
    if not hits:
        return (), ()
    enough = _RELEVANT * hits[0].score
    count = sum(hit.score >= enough for hit in hits)
    return hits[: max(count, _FEWEST)], hits[max(count, _FEWEST) :]


def _source(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}:{number}")


def _relevance(hits: Sequence[Hit]) -> list[float]:
    """Scale the scores so that the best is 1; without positive scores the order tells."""
    best = hits[0].score if hits else 0.0
    if best <= 0:
        return [1 / rank for rank in range(1, len(hits) + 1)]
    return [max(hit.score / best, 1e-6) for hit in hits]


def _scaled(values: Sequence[float]) -> list[float]:
    """Spread values over [0, 1]; equal ones tell nothing and are 0."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    return [(value - least) / (most - least) if most > least else 0.0 for value in values]


def _drawn(hits: Sequence[Hit], source: random.Random) -> list[Hit]:
    keys = [
        math.log(relevance) - _TEMPERATURE * math.log(-math.log(source.uniform(1e-9, 1 - 1e-9)))
        for relevance in _relevance(hits)
    ]
    return [hits[at] for at in sorted(range(len(hits)), key=lambda at: (-keys[at], at))]


def _likeness(hits: Sequence[Hit]) -> list[list[float]]:
    """Compare each two passages by the share of words they have in common (Jaccard)."""
    bags = [frozenset(words_of(hit.chunk.text)) for hit in hits]
    return [[len(one & other) / (len(one | other) or 1) for other in bags] for one in bags]


def _mmr(hits: Sequence[Hit], likeness: Sequence[Sequence[float]], share: float) -> list[int]:
    relevance = _relevance(hits)
    left = list(range(len(hits)))
    repeated = [0.0] * len(hits)
    order: list[int] = []
    while left:
        best = max(left, key=lambda at: (share * relevance[at] - (1 - share) * repeated[at], -at))
        left.remove(best)
        order.append(best)
        repeated = [max(known, likeness[best][at]) for at, known in enumerate(repeated)]
    return order
