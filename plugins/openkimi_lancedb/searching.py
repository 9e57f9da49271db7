"""Searches one document by its words and by its meaning."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from openkimi import OpenKimiError, Vectors
from openkimi_lancedb.catalogue import Entry
from openkimi_lancedb.chunktable import ChunkTable
from openkimi_lancedb.embedding import Embedding
from openkimi_lancedb.failures import LANCE_ERRORS
from openkimi_lancedb.ranking import coverage, ranked, windowed
from openkimi_lancedb.tables import Tables

log = structlog.get_logger()

_SCORED = 1000
_CANDIDATES = 200
_COVERAGE_SAMPLE = 50
_EMBEDDED_AT_ONCE = 48


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question as the two sides need it; without a ``vector`` only its words are searched for."""

    terms: Sequence[str]
    vector: Vectors | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What one document has for a question, by the ordinals of its chunks.

    ``similarities`` also covers what only the words found; ``nearest`` are those that the meaning found.
    """

    lexical: dict[int, float]
    similarities: dict[int, float]
    nearest: Sequence[int]
    covered: float
    densities: NDArray[np.float64]


class VectorsLost(Exception):
    """A document's vectors cannot be read; they have to be made anew."""


async def search_document(tables: Tables, entry: Entry, question: Question, embedding: Embedding) -> Findings:
    """Find a document's best candidates on both sides.

    Raises:
        VectorsLost: the vectors cannot be read, while the chunks can.
    """
    table = await tables.chunks(entry.slot)
    scores = windowed(await table.lexical(question.terms, _SCORED))
    best = ranked(scores, table.tie_break, _CANDIDATES)
    covered = await _coverage(table, question.terms, best[:_COVERAGE_SAMPLE])
    similarities, nearest = await _similarities(tables, entry, question, embedding, table, best)
    return Findings(
        lexical={ordinal: scores[ordinal] for ordinal in best},
        similarities=similarities,
        nearest=nearest,
        covered=covered,
        densities=table.densities,
    )


async def _coverage(table: ChunkTable, terms: Sequence[str], best: Sequence[int]) -> float:
    if not best:
        return 0.0
    found = await table.terms(best)
    return coverage(terms, [found[ordinal] for ordinal in best], len(table.densities))


async def _similarities(
    tables: Tables,
    entry: Entry,
    question: Question,
    embedding: Embedding,
    table: ChunkTable,
    best: Sequence[int],
) -> tuple[dict[int, float], list[int]]:
    """Tell cosines, and which chunks are nearest, the nearest first."""
    if question.vector is None or not entry.chunks:
        return {}, []
    if entry.embedder == embedding.fingerprint:
        found, near = await _by_stored_vectors(tables, entry, question.vector, best)
    else:
        found, near = await _by_first_vectors(tables, entry, question.vector, best, embedding.fingerprint)
        missing = [ordinal for ordinal in best[:_EMBEDDED_AT_ONCE] if ordinal not in found]
        new = await _by_new_vectors(question.vector, embedding, table, missing)
        found, near = {**found, **new}, {**near, **new}
    return found, ranked(near, table.tie_break)


async def _by_stored_vectors(
    tables: Tables, entry: Entry, vector: Vectors, best: Sequence[int]
) -> tuple[dict[int, float], dict[int, float]]:
    try:
        table = await tables.vectors(entry.slot, entry.embedder)
        return await table.nearest(vector, _CANDIDATES, best)
    except LANCE_ERRORS as error:
        raise VectorsLost from error


async def _by_first_vectors(
    tables: Tables, entry: Entry, vector: Vectors, best: Sequence[int], embedder: str
) -> tuple[dict[int, float], dict[int, float]]:
    """Use the vectors that are there already, while the others are being made."""
    try:
        table = await tables.growing_vectors(entry.slot, embedder)
        return await table.nearest(vector, _CANDIDATES, best)
    except LANCE_ERRORS:
        return {}, {}


async def _by_new_vectors(
    vector: Vectors, embedding: Embedding, table: ChunkTable, best: Sequence[int]
) -> dict[int, float]:
    """Embed lexical candidates on the spot, while the document's vectors are being made."""
    chunks = await table.read(best)
    try:
        found = await embedding.now(sorted(chunks, key=lambda chunk: best.index(chunk.ordinal)))
    except OpenKimiError as error:
        log.warning("passages_not_embedded", error=error.message)
        return {}
    return {ordinal: float(np.dot(each, vector)) for ordinal, each in found.items()}
