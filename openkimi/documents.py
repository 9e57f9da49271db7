"""Documents, the chunks they are cut into, and what a search brings back."""

from __future__ import annotations

import hashlib
import re
from typing import Literal, NamedTuple

import msgspec

ANONYMOUS = "anonymous"
"""The tenant of every request while API keys are off."""

_BEGINNING, _TITLE_LINES = 400, 4
_MARKS = " \t\r#*_"
_SURROGATE = re.compile("[\ud800-\udfff]")

DocumentState = Literal["lexical", "ready"]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A text that is known by its content: the same text has the same ``id`` everywhere.

    ``name`` is what a person calls it, such as a file's name. ``kept`` tells one that was given to be stored
    from one that came along with a request and may be dropped when room is needed.
    """

    id: str
    text: str
    name: str | None = None
    kept: bool = False

    @classmethod
    def of(cls, text: str, *, name: str | None = None, kept: bool = False) -> Document:
        """Make a document of a text; lone surrogates, which no encoding can store, become U+FFFD."""
        try:
            data = text.encode()
        except UnicodeEncodeError:
            text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
            data = text.encode()
        return cls(id="doc_" + hashlib.sha256(data).hexdigest()[:32], text=text, name=name, kept=kept)


class Chunk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A passage of a document.

    ``text`` is ``document.text[start:end]``, offsets in characters. ``ordinal`` counts the document's
    chunks from 0. ``headings`` is the path of headings above it, outermost first. ``density`` in [0, 1]
    says how much information the passage adds; it ranks, it never hides. ``key`` is the same for the same
    text under the same headings, cut by the same version of a processor, in whatever document it stands.
    """

    key: str
    text: str
    start: int
    end: int
    ordinal: int
    headings: tuple[str, ...] = ()
    density: float = 0.0

    @property
    def begins_with_heading(self) -> bool:
        """Whether the innermost heading stands in one of the text's first lines."""
        if not self.headings:
            return False
        lines = self.text.lstrip()[:_BEGINNING].split("\n")[:_TITLE_LINES]
        return any(line.strip(_MARKS).startswith(self.headings[-1][:_BEGINNING]) for line in lines)

    @property
    def under_heading(self) -> str:
        """The text under its innermost heading, which is not said twice."""
        if not self.headings or self.begins_with_heading:
            return self.text
        return f"{self.headings[-1]}\n{self.text}"

    @staticmethod
    def key_of(text: str, headings: tuple[str, ...], version: str) -> str:
        """Hash what a chunk's vector depends on into 32 hexadecimal digits."""
        parts = "\x1f".join((version, *headings, text))
        return hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:32]


class Sentence(NamedTuple):
    """A part of a chunk: ``text[start:end]``, and the share of the chunk's relevance that stands in it."""

    start: int
    end: int
    weight: float


PassagePlace = tuple[str, int, int]
"""Where a passage stands: its document's id, and from which character of it to which."""


class Hit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chunk that a search found.

    ``score`` orders the hits of one search, higher is better, and means nothing across searches.
    ``lexical`` is the BM25 score and ``similarity`` the cosine, each where that side was searched.
    ``sentences`` cover the chunk's text in order without gaps and their weights sum to 1, so that a prompt
    can take those that matter; empty where the retriever does not tell, then the chunk is taken whole.
    """

    document_id: str
    chunk: Chunk
    score: float
    lexical: float | None = None
    similarity: float | None = None
    sentences: tuple[Sentence, ...] = ()

    @property
    def place(self) -> PassagePlace:
        """Where it stands; two hits of the same place are one passage."""
        return self.document_id, self.chunk.start, self.chunk.end

    def holds(self, other: Hit) -> bool:
        """Tell whether it has another passage within itself."""
        return (
            self.document_id == other.document_id
            and self.chunk.start <= other.chunk.start
            and other.chunk.end <= self.chunk.end
        )

    def overlaps(self, other: Hit) -> bool:
        """Tell whether it has characters in common with another passage."""
        return (
            self.document_id == other.document_id
            and self.chunk.start < other.chunk.end
            and other.chunk.start < self.chunk.end
        )


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A search for ``text`` in the named documents of one tenant, for at most ``limit`` hits.

    Hits with a cosine under ``similarity_threshold`` are dropped unless the lexical side found them.
    """

    text: str
    document_ids: tuple[str, ...]
    tenant: str = ANONYMOUS
    limit: int = 64
    similarity_threshold: float | None = None


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the memory knows of a stored document.

    ``state`` is ``lexical`` while vectors are missing, then ``ready``. ``fingerprint`` names the processor
    that cut the chunks: other chunks are needed when it changes. ``characters`` and ``chunks`` are counts,
    ``created`` is in seconds since the epoch. ``name`` and ``kept`` are the document's.
    """

    id: str
    state: DocumentState
    fingerprint: str
    characters: int
    chunks: int
    created: float
    name: str | None = None
    kept: bool = False
