"""Keeps the store under its size: what came along with requests goes, the least recently used first."""

from __future__ import annotations

import time
from collections.abc import Sequence

from openkimi import StorageFull
from openkimi_lancedb.catalogue import Catalogue, Entry

IN_USE = 180.0
"""Seconds for which a document that was used stays: a request may be about to search it again."""

_NOTED_EVERY = 60.0


class Uses:
    """When documents were last used; the catalogue is told once a minute at most."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._last: dict[str, float] = {}

    def touch(self, entry: Entry) -> None:
        """Note that a document is used now."""
        self._last[entry.slot] = time.time()

    def of(self, entry: Entry) -> float:
        """Tell when a document was last used, by other processes to the minute."""
        return max(entry.created, entry.used, self._last.get(entry.slot, 0.0))

    async def write(self) -> None:
        """Tell the catalogue of the documents that were used a minute or more after what it knows."""
        rows = {row.slot: row for row in await self._catalogue.rows()}
        self._last = {slot: used for slot, used in self._last.items() if slot in rows}
        late = [slot for slot, used in self._last.items() if used - rows[slot].used > _NOTED_EVERY]
        if late:
            await self._catalogue.set_used(late, max(self._last[slot] for slot in late))


class Evicting:
    """Chooses what has to go when the documents have more bytes than they may."""

    def __init__(self, catalogue: Catalogue, uses: Uses, most_bytes: int | None) -> None:
        self._catalogue = catalogue
        self._uses = uses
        self._most_bytes = most_bytes

    async def victims(self) -> Sequence[Entry]:
        """Name the documents to drop, the least recently used first; those in use and those kept stay."""
        if self._most_bytes is None:
            return ()
        entries = await self._catalogue.entries()
        surplus = sum(entry.size for entry in entries) - self._most_bytes
        victims = list[Entry]()
        for entry in sorted(filter(self.may_go, entries), key=self._uses.of):
            if surplus <= 0:
                break
            victims.append(entry)
            surplus -= entry.size
        return victims

    def last_use(self, entry: Entry) -> float:
        """Tell when a document was last used."""
        return self._uses.of(entry)

    def may_go(self, entry: Entry) -> bool:
        """Tell whether a document came along with a request, and none is using it."""
        return not entry.kept and time.time() - self._uses.of(entry) > IN_USE

    async def check_room(self, entry: Entry) -> None:
        """Refuse a document that is given to be kept when such documents alone would fill the store.

        Raises:
            StorageFull: says what is stored and what to do.
        """
        if self._most_bytes is None:
            return
        others = [each for each in await self._catalogue.entries() if each.kept and each.slot != entry.slot]
        stored = sum(other.size for other in others if (other.tenant, other.id) != (entry.tenant, entry.id))
        if stored + entry.size > self._most_bytes:
            raise StorageFull(
                f"document memory: no room for this document ({_readable(entry.size)}): the documents that "
                f"are kept have {_readable(stored)} of rag.max_size, {_readable(self._most_bytes)}; delete "
                "some or raise rag.max_size"
            )


def _readable(size: int) -> str:
    """Give a number of bytes in a unit of which there is one at least."""
    if size < 1e3:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"
