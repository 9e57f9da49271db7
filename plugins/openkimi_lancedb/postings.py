"""Which passages of a document have which terms: what lexical search reads.

LanceDB's full-text index ranks by the statistics of one table. Here the counts are at hand, so several
documents in scope are ranked by the statistics of all of them together, and of nothing else that is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_TIMES = np.iinfo(np.uint16).max


class Postings:
    """The terms of a document's chunks, by 64-bit hashes, and how often each chunk has each of them.

    ``lengths`` are the numbers of terms in the chunks, by ordinal, repeats counted.
    """

    def __init__(
        self,
        *,
        hashes: NDArray[np.uint64],
        starts: NDArray[np.int64],
        ordinals: NDArray[np.int32],
        times: NDArray[np.uint16],
        lengths: NDArray[np.float64],
    ) -> None:
        self._hashes = hashes
        self._starts = starts
        self._ordinals = ordinals
        self._times = times
        self.lengths = lengths

    @classmethod
    def of(cls, rows: pa.Table) -> Postings:
        """Turn around the columns ``terms`` and ``times`` of a document's chunks, in their order."""
        terms = rows["terms"].combine_chunks()
        hashes = terms.flatten().to_numpy(zero_copy_only=False)
        times = rows["times"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        ordinals = np.repeat(np.arange(len(rows), dtype=np.int32), terms.value_lengths().to_numpy())
        order = np.argsort(hashes, kind="stable")
        unique, starts = np.unique(hashes[order], return_index=True)
        return cls(
            hashes=unique,
            starts=np.append(starts, len(hashes)),
            ordinals=ordinals[order],
            times=times[order],
            lengths=np.bincount(ordinals, weights=times, minlength=len(rows)).astype(np.float64),
        )

    @property
    def size(self) -> int:
        """The memory it takes, in bytes."""
        arrays = (self._hashes, self._starts, self._ordinals, self._times, self.lengths)
        return sum(array.nbytes for array in arrays)

    def find(self, hashed: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Return the ordinals of the chunks that have a term, and how often they have it."""
        at = int(np.searchsorted(self._hashes, np.uint64(hashed)))
        if at == len(self._hashes) or int(self._hashes[at]) != hashed:
            return self._ordinals[:0], self._times[:0]
        part = slice(self._starts[at], self._starts[at + 1])
        return self._ordinals[part], self._times[part]


class Hashing:
    """Hashes terms, each once, and counts them."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def count(self, terms: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
        """Return the different terms of a chunk and how often each is there."""
        known = self._known
        for term in terms:
            if term not in known:
                known[term] = hash_of(term)
        hashes, times = np.unique(
            np.fromiter((known[term] for term in terms), np.uint64, len(terms)), return_counts=True
        )
        return hashes, np.minimum(times, _MOST_TIMES).astype(np.uint16)


def hash_of(term: str) -> int:
    """Hash a term to 64 bits; among a million terms two are alike with a chance of one in 40 million."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")
