"""Stored documents on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from openkimi.documents import DocumentInfo, DocumentState

LONGEST_NAME = 255

Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]


class UploadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON body of ``POST /v1/documents``."""

    text: str
    name: Name | None = None


class UploadForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of ``POST /v1/documents``; without ``name`` the document is called as the file is."""

    file: Annotated[str, msgspec.Meta(extra_json_schema={"format": "binary"})]
    name: Name | msgspec.UnsetType = msgspec.UNSET


class StoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document in the memory; ``created`` in seconds since the epoch."""

    id: str
    object: Literal["document"] = "document"
    name: str | None
    state: DocumentState
    characters: int
    chunks: int
    created: int
    kept: bool

    @classmethod
    def of(cls, info: DocumentInfo) -> StoredDocument:
        """Convert what the memory knows of a document."""
        return cls(
            id=info.id,
            name=info.name,
            state=info.state,
            characters=info.characters,
            chunks=info.chunks,
            created=int(info.created),
            kept=info.kept,
        )


class DocumentList(msgspec.Struct, frozen=True, kw_only=True):
    """Stored documents, a page of them; ``has_more`` tells whether others follow ``last_id``."""

    object: Literal["list"] = "list"
    data: list[StoredDocument]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class DeletedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["document.deleted"] = "document.deleted"
    deleted: bool = True
