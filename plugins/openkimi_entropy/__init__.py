"""The processor ``entropy``: cuts documents into chunks and scores the information density of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi import OpenContext, Processor, Provider, hookimpl
from openkimi_entropy.options import EntropyOptions, check_options


@asynccontextmanager
async def open_processor(options: EntropyOptions, context: OpenContext) -> AsyncIterator[Processor]:
    """Open the processor; only the method ``semantic`` asks for the embedder."""
    from openkimi_entropy.processor import EntropyProcessor

    yield EntropyProcessor(options, context.embedder if options.entropy_method == "semantic" else None)


@hookimpl
def register_processors() -> Iterable[Provider[Processor]]:
    """Offer the processor."""
    return [
        Provider(
            "entropy",
            open_processor,
            EntropyOptions,
            description="cuts at headings, paragraphs and sentences; scores information density",
            check=check_options,
        )
    ]
