"""Multi-path reasoning: samplers of contexts, and synthesizers that make one answer of several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

from openkimi import ContextSampler, NoOptions, OpenContext, Provider, Synthesizer, hookimpl

Open = Callable[[NoOptions, OpenContext], AbstractAsyncContextManager[Any]]


def _opening(module: str, name: str) -> Open:
    """Make the function that opens a class of one of this package's modules, which is imported then."""

    @asynccontextmanager
    async def open_class(options: NoOptions, context: OpenContext) -> AsyncIterator[Any]:
        yield getattr(import_module(f"openkimi_mpr.{module}"), name)()

    return open_class


@hookimpl
def register_samplers() -> Iterable[Provider[ContextSampler]]:
    """Offer the samplers."""
    return [
        Provider(
            "diversity",
            _opening("sampling", "DiversitySampler"),
            description="the best passages that differ, more or fewer of them",
        ),
        Provider(
            "relevance",
            _opening("sampling", "RelevanceSampler"),
            description="the best passages, in varied order",
        ),
        Provider(
            "cutoff",
            _opening("sampling", "CutoffSampler"),
            description="the best passages, more or fewer of them",
        ),
        Provider(
            "entropy",
            _opening("sampling", "EntropySampler"),
            description="the densest of the relevant passages",
        ),
        Provider(
            "random",
            _opening("sampling", "RandomSampler"),
            description="any passages: a baseline, and a losing one",
        ),
    ]


@hookimpl
def register_synthesizers() -> Iterable[Provider[Synthesizer]]:
    """Offer the synthesizers."""
    return [
        Provider(
            "hierarchical",
            _opening("synthesis", "HierarchicalSynthesizer"),
            description="the best supported of those that agree",
        ),
        Provider(
            "support",
            _opening("synthesis", "SupportSynthesizer"),
            description="the candidate that its passages bear out best",
        ),
        Provider(
            "weighted",
            _opening("synthesis", "WeightedSynthesizer"),
            description="a vote in which support counts",
        ),
        Provider(
            "majority",
            _opening("synthesis", "MajoritySynthesizer"),
            description="the candidate most like all others",
        ),
        Provider(
            "consensus",
            _opening("synthesis", "ConsensusSynthesizer"),
            description="what more than half of the candidates say",
        ),
    ]
