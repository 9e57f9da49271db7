"""Multi-path reasoning: samplers of contexts, and synthesizers that make one answer of several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi import ContextSampler, NoOptions, OpenContext, Provider, Synthesizer, hookimpl


@asynccontextmanager
async def open_relevance(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``relevance``."""
    from openkimi_mpr.sampling import RelevanceSampler

    yield RelevanceSampler()


@asynccontextmanager
async def open_diversity(options: NoOptions, context: OpenContext) -> AsyncIterator[ContextSampler]:
    """Open the sampler ``diversity``."""
    from openkimi_mpr.sampling import DiversitySampler

    yield DiversitySampler()


@asynccontextmanager
async def open_majority(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``majority``."""
    from openkimi_mpr.synthesis import MajoritySynthesizer

    yield MajoritySynthesizer()


@asynccontextmanager
async def open_hierarchical(options: NoOptions, context: OpenContext) -> AsyncIterator[Synthesizer]:
    """Open the synthesizer ``hierarchical``."""
    from openkimi_mpr.synthesis import HierarchicalSynthesizer

    yield HierarchicalSynthesizer()


@hookimpl
def register_samplers() -> Iterable[Provider[ContextSampler]]:
    """Offer the samplers."""
    return [
        Provider("diversity", open_diversity, description="maximal marginal relevance, varied"),
        Provider("relevance", open_relevance, description="the best passages, in varied order"),
    ]


@hookimpl
def register_synthesizers() -> Iterable[Provider[Synthesizer]]:
    """Offer the synthesizers."""
    return [
        Provider("hierarchical", open_hierarchical, description="the best supported of those that agree"),
        Provider("majority", open_majority, description="the candidate most like all others"),
    ]
