"""The list of stored documents; one without a row here does not exist."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from openkimi import Chunk, DocumentInfo
from openkimi_lancedb.failures import LANCE_ERRORS, storage_errors
from openkimi_lancedb.naming import age_of, owner_key
from openkimi_lancedb.terms import TERMS

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import AsyncConnection, AsyncTable

log = structlog.get_logger()

LAYOUT = 3
"""Raised whenever a document's tables would be made otherwise."""

READABLE = frozenset({2, LAYOUT})
"""The layouts that can be searched and read; documents of an older one are made anew from their text.

A layout leaves this set only when no document of it is worth keeping. Rows of a layout that is not in it are
those of another version of this plugin: they are not shown, and their tables are left alone.
"""

_TABLE, _CATALOGUE = "documents_2", 2
_OTHER = re.compile(r"documents_(\d+)")
_ADDED = {"terms": "'terms-1'", "size": "CAST(0 AS BIGINT)", "used": "CAST(0 AS DOUBLE)"}
"""Columns that came after the first release of this layout, and what they hold in older rows."""

_SLICE = 512
_SKETCH_SIZE = 64
_SKETCH_DIGITS = 12
_WRITES_BEFORE_TIDYING = 100


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A document's row.

    ``embedder`` is the fingerprint of what made its vectors, empty until they are complete; ``terms`` names
    the rules that made its terms. ``size`` is in bytes, ``used`` when it was last known to be used.
    """

    slot: str
    tenant: str
    id: str
    fingerprint: str
    digest: str
    characters: int
    chunks: int
    created: float
    name: str | None = None
    kept: bool = False
    embedder: str = ""
    layout: int = LAYOUT
    terms: str = TERMS
    size: int = 0
    used: float = 0.0

    @property
    def is_current(self) -> bool:
        """Whether this version would make the document's tables as they are."""
        return (self.terms, self.layout) == (TERMS, LAYOUT)

    def info(self, embedder: str) -> DocumentInfo:
        """Show the row as the contract does, for the embedder that is in use."""
        return DocumentInfo(
            id=self.id,
            state="ready" if self.embedder == embedder else "lexical",
            fingerprint=self.fingerprint,
            characters=self.characters,
            chunks=self.chunks,
            created=self.created,
            name=self.name,
            kept=self.kept,
        )


class Catalogue:
    """Reads and writes the rows, those of other processes included."""

    def __init__(self, table: AsyncTable) -> None:
        self._table = table
        self._version: int | None = None
        self._rows: dict[tuple[str, str], list[Entry]] = {}
        self._disowned: set[str] = set()
        self._writes = 0
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, database: AsyncConnection) -> Catalogue:
        """Open the catalogue, a new one where there is none."""
        with storage_errors("cannot open the catalogue"):
            table = await _open_table(database)
            await _add_missing_columns(table)
        catalogue = cls(table)
        await catalogue.tidy()
        return catalogue

    async def find(self, tenant: str, document_id: str) -> Entry | None:
        """Find a tenant's document."""
        return self._usable(await self.rows_of(tenant, document_id))

    async def rows_of(self, tenant: str, document_id: str) -> list[Entry]:
        """List a document's rows, those that a newer one stands for or that cannot be used included."""
        return (await self._current()).get((tenant, document_id), [])

    async def rows(self) -> list[Entry]:
        """List all rows of all tenants."""
        return [row for rows in (await self._current()).values() for row in rows]

    async def entries(self) -> list[Entry]:
        """List the documents of all tenants, oldest first."""
        documents = map(self._usable, (await self._current()).values())
        return sorted((entry for entry in documents if entry is not None), key=_age)

    def disown(self, slot: str) -> None:
        """Take a document for absent in this process, since its tables are damaged; it is added again."""
        self._disowned.add(slot)

    async def put(self, entry: Entry, sketch: Sequence[str]) -> None:
        """Add a row; the document exists from now on."""
        import pyarrow as pa

        row = {**msgspec.structs.asdict(entry), "owner": owner_key(entry.tenant), "sketch": list(sketch)}
        with storage_errors("cannot write the catalogue"):
            await self._table.add(pa.Table.from_pylist([row], schema=_schema()))
        await self._wrote()

    async def set_embedder(self, slot: str, embedder: str, size: int | None = None) -> None:
        """Note which embedder's vectors are complete, and the size with them.

        A document deleted meanwhile stays deleted.
        """
        await self._update([slot], embedder=embedder, **({} if size is None else {"size": size}))

    async def set_used(self, slots: Sequence[str], used: float) -> None:
        """Note when documents were last used."""
        await self._update(slots, used=used)

    async def describe(self, slot: str, name: str | None, *, kept: bool) -> None:
        """Note what a document is called and whether it was given to be stored."""
        await self._update([slot], kept=kept, **({} if name is None else {"name": name}))

    async def remove(self, slots: Sequence[str]) -> None:
        """Remove rows."""
        if not slots:
            return
        with storage_errors("cannot write the catalogue"):
            await self._table.delete(_among(slots))
        await self._wrote()

    async def remove_unless_kept(self, slots: Sequence[str]) -> bool:
        """Remove rows that are not to be kept at the moment of removal; tell whether all are gone."""
        with storage_errors("cannot write the catalogue"):
            await self._table.delete(f"{_among(slots)} AND NOT kept")
        await self._wrote()
        return not {row.slot for row in await self.rows()} & set(slots)

    async def are_current(self, entries: Iterable[Entry]) -> bool:
        """Tell whether these rows stand for their documents still: none was deleted or replaced."""
        rows = await self._current()

        def is_current(entry: Entry) -> bool:
            row = self._usable(rows.get((entry.tenant, entry.id), ()))
            return row is not None and row.slot == entry.slot

        return all(map(is_current, entries))

    async def likest(self, entry: Entry, sketch: Sequence[str], count: int) -> list[Entry]:
        """Find the tenant's other documents that share most chunks, judged by their sketches."""
        with storage_errors("cannot read the catalogue"):
            await self._refresh()
            owned = self._table.query().where(f"owner = '{owner_key(entry.tenant)}'")
            rows = await owned.select(["slot", "sketch"]).to_arrow()
        shared = await asyncio.to_thread(_shared, rows, sketch)
        others = [
            other
            for other in await self.entries()
            if other.slot != entry.slot and other.tenant == entry.tenant and shared.get(other.slot)
        ]
        return sorted(others, key=lambda other: (-shared[other.slot], -other.created))[:count]

    async def tidy(self) -> None:
        """Merge the many small files that single rows leave behind; another writer may put it off."""
        from datetime import timedelta

        try:
            await self._table.optimize(cleanup_older_than=timedelta(minutes=10))
        except LANCE_ERRORS as error:
            log.debug("catalogue_not_tidied", error=str(error))

    async def _current(self) -> dict[tuple[str, str], list[Entry]]:
        """Read the rows again if anyone has written since the last time."""
        async with self._lock:
            with storage_errors("cannot read the catalogue"):
                await self._refresh()
                version = await self._table.version()
                if version != self._version:
                    rows = await self._table.query().select(list(Entry.__struct_fields__)).to_arrow()
                    self._rows = await asyncio.to_thread(_by_document, rows)
                    self._version = version
        return self._rows

    async def _refresh(self) -> None:
        await self._table.checkout_latest()  # type: ignore[no-untyped-call]

    def _usable(self, rows: Sequence[Entry]) -> Entry | None:
        """Pick the newest row."""
        usable = [row for row in rows if row.layout in READABLE and row.slot not in self._disowned]
        return max(usable, key=lambda row: -age_of(row.slot), default=None)

    async def _update(self, slots: Sequence[str], **values: object) -> None:
        with storage_errors("cannot write the catalogue"):
            await self._table.update(values, where=_among(slots))
        await self._wrote()

    async def _wrote(self) -> None:
        self._writes += 1
        if self._writes % _WRITES_BEFORE_TIDYING == 0:
            await self.tidy()


def sketch_of(chunks: Sequence[Chunk]) -> list[str]:
    """Sketch a set of chunks: its smallest keys, of which like sets share many.

    Bottom-k MinHash (Broder, "On the resemblance and containment of documents", 1997); the keys are hashes.
    """
    return sorted({chunk.key[:_SKETCH_DIGITS] for chunk in chunks})[:_SKETCH_SIZE]


def digest_of(chunks: Sequence[Chunk]) -> str:
    """Hash a list of chunks, so that the same one is not written again."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(msgspec.msgpack.encode(chunk))
    return digest.hexdigest()[:32]


def _by_document(rows: pa.Table) -> dict[tuple[str, str], list[Entry]]:
    documents: dict[tuple[str, str], list[Entry]] = {}
    for batch in rows.to_batches(max_chunksize=_SLICE):
        for row in msgspec.convert(batch.to_pylist(), list[Entry]):
            documents.setdefault((row.tenant, row.id), []).append(row)
    return documents


def _shared(rows: pa.Table, sketch: Sequence[str]) -> dict[str, int]:
    """Count, by slot, how much of the sketch each row has; those with nothing are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: Counter[str] = Counter()
    for batch in rows.to_batches():
        keys = batch["sketch"]
        has = pc.is_in(pc.list_flatten(keys), value_set=pa.array(sketch, pa.string()))
        counts.update(batch["slot"].take(pc.list_parent_indices(keys).filter(has)).to_pylist())
    return dict(counts)


def _among(slots: Sequence[str]) -> str:
    listed = ", ".join(f"'{slot}'" for slot in slots)
    return f"slot IN ({listed})"


def _age(entry: Entry) -> tuple[float, str]:
    return entry.created, entry.slot


async def slots_of_newer_versions(database: AsyncConnection, names: Sequence[str]) -> set[str]:
    """Read which documents are in catalogues that a newer version made; ``names`` are all tables."""
    slots = set[str]()
    for name in names:
        match = _OTHER.fullmatch(name)
        if match and int(match[1]) > _CATALOGUE:
            rows = await (await database.open_table(name)).query().select(["slot"]).to_arrow()
            slots.update(rows["slot"].to_pylist())
    return slots


async def _open_table(database: AsyncConnection) -> AsyncTable:
    """Open the table as it is, or make it; one of an earlier version has fewer columns."""
    try:
        return await database.open_table(_TABLE)
    except LANCE_ERRORS:
        return await database.create_table(_TABLE, schema=_schema(), exist_ok=True)


async def _add_missing_columns(table: AsyncTable) -> None:
    """Give a catalogue of an earlier version the columns it lacks; another process may be faster."""
    has = set((await table.schema()).names)
    missing = {name: default for name, default in _ADDED.items() if name not in has}
    if not missing:
        return
    try:
        await table.add_columns(missing)
    except LANCE_ERRORS:
        await table.checkout_latest()  # type: ignore[no-untyped-call]
        if not set((await table.schema()).names) >= missing.keys():
            raise


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("slot", pa.string()),
            ("owner", pa.string()),
            ("tenant", pa.string()),
            ("id", pa.string()),
            ("fingerprint", pa.string()),
            ("digest", pa.string()),
            ("characters", pa.int64()),
            ("chunks", pa.int64()),
            ("created", pa.float64()),
            ("name", pa.string()),
            ("kept", pa.bool_()),
            ("embedder", pa.string()),
            ("layout", pa.int32()),
            ("terms", pa.string()),
            ("size", pa.int64()),
            ("used", pa.float64()),
            ("sketch", pa.list_(pa.string())),
        ]
    )
