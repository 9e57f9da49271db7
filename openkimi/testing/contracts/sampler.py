"""What every sampler of contexts promises."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from openkimi.contracts import ContextSampler, Embedder
from openkimi.documents import Chunk, Hit
from openkimi.testing.contracts.comparing import same_hits
from openkimi.testing.contracts.contract import Contract, promise
from openkimi.testing.contracts.texts import TEXTS
from openkimi.testing.embedding import HashingEmbedder

_WORDS = [f"word{n}" for n in range(60)]
_LONGEST = " ".join(_WORDS * 10)


def hit(ordinal: int, score: float, text: str = "", *, document_id: str = "doc_1") -> Hit:
    """Make a hit of a passage, of twelve words where no text is given."""
    text = text or " ".join(random.Random(ordinal).choices(_WORDS, k=12))
    start = ordinal * 100
    chunk = Chunk(key=f"{ordinal:032x}", text=text, start=start, end=start + len(text), ordinal=ordinal)
    return Hit(document_id=document_id, chunk=chunk, score=score)


_DECREASING = [hit(n, 1 / (1 + n)) for n in range(40)]
HITS = {
    "none": [],
    "one": [hit(0, 1.0)],
    "two": [hit(0, 1.0), hit(1, 0.9)],
    "decreasing scores": _DECREASING,
    "the most there are": [hit(n, 1 - n / 1_000) for n in range(200)],
    "equal scores": [hit(n, 0.5) for n in range(20)],
    "scores of zero": [hit(n, 0.0) for n in range(20)],
    "negative scores": [hit(n, -1.0 - n) for n in range(20)],
    "very large scores": [hit(n, 1e300 / (n + 1)) for n in range(20)],
    "the same text": [hit(n, 1 - n / 100, "The same again.") for n in range(20)],
    "texts of all kinds": [hit(n, 1 - n / 100, text) for n, text in enumerate(TEXTS.values())],
    "several documents": [hit(n // 3, 1 - n / 100, document_id=f"doc_{n % 3}") for n in range(30)],
    "long texts": [hit(n, 1 - n / 100, f"{n} {_LONGEST}") for n in range(30)],
}
each_hits = pytest.mark.parametrize("hits", HITS.values(), ids=list(HITS))
SEEDS = (0, 1, -1, 2**31, 2**63 - 1, -(2**63))


class SamplerContract(Contract):
    """What every sampler of contexts promises."""

    contract = ContextSampler
    embedder: Embedder | None = HashingEmbedder()

    def test_it_needs_no_option(self) -> None:
        """A sampler is chosen by its name alone, so every option has a default."""
        self.provider.config()

    @each_hits
    @pytest.mark.parametrize("n", [1, 2, 5, 32])
    @promise
    async def test_there_are_as_many_contexts_as_asked_for(
        self, sampler: ContextSampler, hits: Sequence[Hit], n: int
    ) -> None:
        """``n`` contexts come, whatever the hits are."""
        assert len(sampler.sample(hits, n, seed=3)) == n

    @each_hits
    @promise
    async def test_the_first_context_is_a_single_paths(
        self, sampler: ContextSampler, hits: Sequence[Hit]
    ) -> None:
        """The first of several contexts has the hits as they came."""
        for n in (1, 4):
            same_hits(sampler.sample(hits, n, seed=3)[0], hits)

    @each_hits
    @promise
    async def test_contexts_are_made_of_the_hits(self, sampler: ContextSampler, hits: Sequence[Hit]) -> None:
        """A context orders hits and may leave some out; it has no other, and none twice."""
        known = {one.place: one for one in hits}
        for context in sampler.sample(hits, 6, seed=3):
            places = [one.place for one in context]

            assert set(places) <= set(known)
            assert len(set(places)) == len(places)
            same_hits(context, [known[place] for place in places])
            assert bool(context) == bool(hits)

    @each_hits
    @promise
    async def test_the_same_arguments_give_the_same_contexts(
        self, sampler: ContextSampler, hits: Sequence[Hit]
    ) -> None:
        """Sampling is pure: the random numbers of others are neither used nor changed, and hits stay."""
        given = list(hits)
        async with self.open() as other:
            for seed in SEEDS:
                random.seed(1)
                np.random.seed(1)
                before = random.getstate()
                first = sampler.sample(given, 4, seed=seed)
                assert random.getstate() == before, "use random.Random(seed), not the module's own numbers"
                random.seed(2)
                np.random.seed(2)
                again = other.sample(tuple(hits), 4, seed=seed)

                for repeated, context in zip(again, first, strict=True):
                    same_hits(repeated, context)
        same_hits(given, hits)

    @promise
    async def test_it_works_in_threads(self, sampler: ContextSampler) -> None:
        """Several threads at once get what each would get alone."""
        alone = [sampler.sample(_DECREASING, 4, seed=seed) for seed in range(16)]
        with ThreadPoolExecutor(8) as threads:
            beside = list(threads.map(lambda seed: sampler.sample(_DECREASING, 4, seed=seed), range(16)))

        for contexts, expected in zip(beside, alone, strict=True):
            for one, other in zip(contexts, expected, strict=True):
                same_hits(one, other)
