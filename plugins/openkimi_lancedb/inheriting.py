"""Takes over the vectors of chunks that are stored already: an edited document embeds what changed."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from openkimi import Chunk, Vectors
from openkimi_lancedb.catalogue import Entry
from openkimi_lancedb.failures import LANCE_ERRORS
from openkimi_lancedb.naming import vector_table
from openkimi_lancedb.tables import Tables
from openkimi_lancedb.vectortable import VectorTable

log = structlog.get_logger()


async def inherit_vectors(
    tables: Tables, slot: str, chunks: Sequence[Chunk], sources: Sequence[Entry], embedder: str
) -> int:
    """Copy the vectors that the sources have of these chunks into the slot; count the chunks left."""
    known = await _known({chunk.key for chunk in chunks}, tables, sources, embedder)
    inherited = [chunk for chunk in chunks if chunk.key in known]
    if inherited:
        dimensions = known[inherited[0].key].shape[1]
        table = await VectorTable.create(tables.database, vector_table(slot, embedder), dimensions)
        await table.append(inherited, known)
    return len(chunks) - len(inherited)


async def _known(
    keys: set[str], tables: Tables, sources: Sequence[Entry], embedder: str
) -> dict[str, Vectors]:
    known: dict[str, Vectors] = {}
    for source in sources:
        try:
            vectors = await VectorTable.open(tables.database, vector_table(source.slot, embedder))
            known.update(await vectors.take(keys - known.keys()))
        except LANCE_ERRORS:
            log.debug("vectors_not_inherited", document=source.id)
    return known
