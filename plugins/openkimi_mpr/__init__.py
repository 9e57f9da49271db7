"""Multi-path reasoning: samplers of contexts, and synthesizers that make one answer of several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi import ContextSampler, NoOptions, OpenContext, Provider, Synthesizer, hookimpl


@asynccontextmanager
async def open_diversity(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``diversity``."""
    from openkimi_mpr.sampling import DiversitySampler

    yield DiversitySampler()


@asynccontextmanager
async def open_relevance(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``relevance``."""
    from openkimi_mpr.sampling import RelevanceSampler

    yield RelevanceSampler()


@asynccontextmanager
async def open_cutoff(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``cutoff``."""
    from openkimi_mpr.sampling import CutoffSampler

    yield CutoffSampler()


@asynccontextmanager
async def open_entropy(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``entropy``."""
    from openkimi_mpr.sampling import EntropySampler

    yield EntropySampler()


@asynccontextmanager
async def open_random(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``random``."""
    from openkimi_mpr.sampling import RandomSampler

    yield RandomSampler()


@asynccontextmanager
async def open_hierarchical(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``hierarchical``."""
    from openkimi_mpr.synthesis import HierarchicalSynthesizer

    yield HierarchicalSynthesizer()


@asynccontextmanager
async def open_support(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``support``."""
    from openkimi_mpr.synthesis import SupportSynthesizer

    yield SupportSynthesizer()


@asynccontextmanager
async def open_weighted(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``weighted``."""
    from openkimi_mpr.synthesis import WeightedSynthesizer

    yield WeightedSynthesizer()


@asynccontextmanager
async def open_majority(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``majority``."""
    from openkimi_mpr.synthesis import MajoritySynthesizer

    yield MajoritySynthesizer()


@asynccontextmanager
async def open_consensus(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``consensus``."""
    from openkimi_mpr.synthesis import ConsensusSynthesizer

    yield ConsensusSynthesizer()


@hookimpl
def register_samplers() -> Iterable[Provider[ContextSampler]]:
    """Offer the samplers."""
    return [
        Provider("diversity", open_diversity, description="maximal marginal relevance, varied"),
        Provider("relevance", open_relevance, description="the best passages, in varied order"),
        Provider("cutoff", open_cutoff, description="the best passages, more or fewer of them"),
        Provider("entropy", open_entropy, description="the densest of the relevant passages"),
        Provider("random", open_random, description="any passages: a baseline, and a losing one"),
    ]


@hookimpl
def register_synthesizers() -> Iterable[Provider[Synthesizer]]:
    """Offer the synthesizers."""
    return [
        Provider("hierarchical", open_hierarchical, description="the best supported of those that agree"),
        Provider("support", open_support, description="the candidate that its passages bear out best"),
        Provider("weighted", open_weighted, description="a vote in which support counts"),
        Provider("majority", open_majority, description="the candidate most like all others"),
        Provider("consensus", open_consensus, description="what more than half of the candidates say"),
    ]
