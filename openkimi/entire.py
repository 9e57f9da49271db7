"""Reads documents from beginning to end, one after the other, as far as they are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import structlog

from openkimi.documents import Chunk
from openkimi.errors import DocumentNotFound, StorageError
from openkimi.memory import Memory

log = structlog.get_logger()


async def read_entire(
    memory: Memory, document_ids: Sequence[str], tenant: str, *, most: int | None = None
) -> AsyncGenerator[tuple[str, Sequence[Chunk]], None]:
    """Yield documents with all of their chunks; one that was deleted meanwhile or is damaged is passed over.

    So is one with which these would have more than ``most`` characters, but not the first one.

    Raises:
        DocumentNotFound, StorageError: there are documents, and none of them can be read.
    """
    failure: DocumentNotFound | StorageError | None = None
    count = characters = 0
    for id_ in document_ids:
        try:
            info = await memory.get(id_, tenant)
            size = info.characters if info else 0
            if most is not None and count and characters + size > most:
                log.info("document_too_much", document=id_, characters=size, read=characters)
                continue
            chunks = await memory.chunks(id_, tenant)
        except (DocumentNotFound, StorageError) as error:
            log.warning("document_passed_over", document=id_, error=type(error).__name__)
            log.debug("document_passed_over_because", reason=error.message)
            failure = failure or error
            continue
        count, characters = count + 1, characters + size
        yield id_, chunks
    if failure is not None and not count:
        raise failure
