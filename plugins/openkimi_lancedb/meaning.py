"""Searches one document by its meaning."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import structlog

from openkimi import OpenKimiError, Vectors
from openkimi_lancedb.catalogue import Entry
from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.embedding import Embedding
from openkimi_lancedb.failures import LANCE_ERRORS
from openkimi_lancedb.ranking import ranked
from openkimi_lancedb.tables import Tables
from openkimi_lancedb.vectortable import VectorTable

log = structlog.get_logger()

_CANDIDATES = 200
_EMBEDDED_AT_ONCE = 48


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What the meaning found in one document, by the ordinals of its chunks.

    ``similarities`` also covers what only the words found; ``nearest`` are the best, the nearest first.
    """

    similarities: dict[int, float] = {}
    nearest: Sequence[int] = ()


class VectorsLost(Exception):
    """A document's vectors cannot be read; they have to be made anew."""


async def search_meaning(
    tables: Tables,
    entry: Entry,
    chunks: ChunkTable,
    vector: Vectors,
    best: Sequence[int],
    embedding: Embedding,
) -> Meaning:
    """Find the chunks nearest to a question's vector, and tell how near the ``best`` of the words are.

    Raises:
        VectorsLost: the vectors cannot be read.
    """
    if entry.embedder == embedding.fingerprint:
        found, near = await _by_stored_vectors(tables, entry, vector, best)
    else:
        found, near = await _by_first_vectors(tables, entry, vector, best, embedding.fingerprint)
        missing = [ordinal for ordinal in best[:_EMBEDDED_AT_ONCE] if ordinal not in found]
        new = await _by_new_vectors(vector, embedding, chunks, missing)
        found, near = {**found, **new}, {**near, **new}
    densities = chunks.densities
    nearest = ranked(near, lambda ordinal: (-float(densities[ordinal]), ordinal))
    return Meaning(similarities=found, nearest=nearest)


async def cosines_of_parts(
    tables: Tables, entry: Entry, vector: Vectors, ordinals: Sequence[int], embedder: str
) -> dict[int, list[float]]:
    """Tell the cosines of the parts of some chunks, as far as they have vectors."""
    try:
        table = await _vectors(tables, entry, embedder)
        return await table.cosines(vector, ordinals)
    except LANCE_ERRORS:
        return {}


async def _vectors(tables: Tables, entry: Entry, embedder: str) -> VectorTable:
    if entry.embedder == embedder:
        return await tables.vectors(entry.slot, embedder)
    return await tables.growing_vectors(entry.slot, embedder)


async def _by_stored_vectors(
    tables: Tables, entry: Entry, vector: Vectors, best: Sequence[int]
) -> tuple[dict[int, float], dict[int, float]]:
    try:
        table = await _vectors(tables, entry, entry.embedder)
        return await table.nearest(vector, _CANDIDATES, best)
    except LANCE_ERRORS as error:
        raise VectorsLost from error


async def _by_first_vectors(
    tables: Tables, entry: Entry, vector: Vectors, best: Sequence[int], embedder: str
) -> tuple[dict[int, float], dict[int, float]]:
    """Use the vectors that are there already, while the others are being made."""
    try:
        table = await _vectors(tables, entry, embedder)
        return await table.nearest(vector, _CANDIDATES, best)
    except LANCE_ERRORS:
        return {}, {}


async def _by_new_vectors(
    vector: Vectors, embedding: Embedding, table: ChunkTable, best: Sequence[int]
) -> dict[int, float]:
    """Embed lexical candidates on the spot, while the document's vectors are being made."""
    try:
        chunks = await table.read(best)
        found = await embedding.now(sorted(chunks, key=lambda chunk: best.index(chunk.ordinal)))
    except LANCE_ERRORS:
        return {}
    except OpenKimiError as error:
        log.warning("passages_not_embedded", error=error.for_log)
        return {}
    return {ordinal: float(np.dot(each, vector)) for ordinal, each in found.items()}
