"""The retriever ``lancedb``: documents stored in LanceDB, found by full-text and vector search."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from openkimi import Finding, OpenContext, Provider, Retriever, hookimpl
from openkimi_lancedb.options import LanceDBOptions, check_options

__all__ = ["LanceDBOptions"]


@asynccontextmanager
async def open_retriever(options: LanceDBOptions, context: OpenContext) -> AsyncIterator[Retriever]:
    """Open the store."""
    from openkimi_lancedb.opening import open_retriever as opening

    async with opening(options, context) as retriever:
        yield retriever


def _diagnose(options: LanceDBOptions) -> Iterable[Finding]:
    from openkimi_lancedb.diagnosing import diagnose_store

    return diagnose_store(options)


@hookimpl
def register_retrievers() -> Iterable[Provider[Retriever]]:
    """Offer the retriever."""
    return [
        Provider(
            "lancedb",
            open_retriever,
            LanceDBOptions,
            description="stores documents in LanceDB; BM25 and vectors, fused by rank",
            check=check_options,
            diagnose=_diagnose,
        )
    ]
