"""The names of tables: hashes and times, nothing that a user wrote.

A document's tables share a slot: who owns it, when it was written, and chance. A slot is never written
twice, so what a catalogue row names is complete.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time

_SLOT = re.compile(
    r"^(?:chunks|vectors)_(?P<slot>[0-9a-f]{16}(?P<time>[0-9a-f]{12})[0-9a-f]{8})(?:_[0-9a-f]{8})?$"
)


def new_slot(tenant: str, document_id: str, fingerprint: str) -> str:
    """Make the slot for a document that is about to be written."""
    return (
        f"{_hash(tenant, document_id, fingerprint)[:16]}{int(time.time() * 1000):012x}{secrets.token_hex(4)}"
    )


def chunk_table(slot: str) -> str:
    """Name the table of a document's chunks."""
    return f"chunks_{slot}"


def vector_table(slot: str, embedder: str) -> str:
    """Name the table of the vectors that an embedder, known by its fingerprint, made of the chunks."""
    return f"vectors_{slot}_{_hash(embedder)[:8]}"


def slot_of(table: str) -> str | None:
    """Tell the slot that a table belongs to, None for a table that is no document's."""
    match = _SLOT.match(table)
    return match["slot"] if match else None


def age_of(slot: str) -> float:
    """Tell how many seconds ago a slot was made."""
    return time.time() - int(slot[16:28], 16) / 1000


def owner_key(tenant: str) -> str:
    """Name a tenant where a filter is written as text."""
    return _hash(tenant)[:32]


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()
