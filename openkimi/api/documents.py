"""The stored documents: uploading, listing, reading and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter

from openkimi.api import documents_schemas as wire
from openkimi.api.auth import caller_of
from openkimi.api.gateway import Gateway
from openkimi.api.json_response import json_response
from openkimi.api.openapi import TEXT, takes_files, tells
from openkimi.api.uploads import FILE_TYPES, upload_of
from openkimi.documents import DocumentInfo
from openkimi.errors import DocumentNotFound
from openkimi.files.converting import Converter

_MOST_LISTED = 10_000

DocumentId = Annotated[str, PathParameter(description="The document's id.")]
FileName = Annotated[
    str | None,
    QueryParameter(
        max_length=wire.LONGEST_NAME, description="What to call a file that is the body as it is."
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=_MOST_LISTED, description="The most documents to list.")]
After = Annotated[str | None, QueryParameter(description="The id that the listed ones come after.")]


def document_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return the routes under ``/v1/documents``."""
    engine, converter = gateway.engine, Converter()

    @post(
        "/v1/documents",
        status_code=200,
        operation_class=takes_files(
            wire.UploadRequest, wire.UploadForm, FILE_TYPES, answer=wire.StoredDocument
        ),
    )
    async def upload_document(request: Request[Any, Any, Any], name: FileName = None) -> Response[bytes]:
        """Store a document, sent as JSON, as a form or as it is; the same text has the same id again."""
        headers, body = await gateway.read_upload(request)

        async def store() -> DocumentInfo:
            upload = await upload_of(headers, body, converter, name=name)
            return await engine.store(upload.text, name=upload.name, tenant=caller_of(request).tenant)

        return json_response(wire.StoredDocument.of(await gateway.run(request, store())))

    @get("/v1/documents", operation_class=tells(wire.DocumentList, errors=(404,)))
    async def list_documents(
        request: Request[Any, Any, Any], limit: Limit = _MOST_LISTED, after: After = None
    ) -> Response[bytes]:
        """List the caller's documents, oldest first; the state is ``ready`` once all vectors are there."""
        infos = _after(await engine.documents(caller_of(request).tenant), after)
        page = [wire.StoredDocument.of(info) for info in infos[:limit]]
        return json_response(
            wire.DocumentList(
                data=page,
                first_id=page[0].id if page else None,
                last_id=page[-1].id if page else None,
                has_more=len(infos) > limit,
            )
        )

    @get("/v1/documents/{document_id:str}", operation_class=tells(wire.StoredDocument, errors=(404,)))
    async def retrieve_document(request: Request[Any, Any, Any], document_id: DocumentId) -> Response[bytes]:
        """Describe a document."""
        info = await engine.document(document_id, caller_of(request).tenant)
        return json_response(wire.StoredDocument.of(info))

    @get(
        "/v1/documents/{document_id:str}/content",
        operation_class=tells(str, errors=(404,), media_type=TEXT),
    )
    async def retrieve_content(request: Request[Any, Any, Any], document_id: DocumentId) -> Response[bytes]:
        """Return a document's text, into which the offsets of a receipt lead."""
        text = await engine.document_text(document_id, caller_of(request).tenant)
        return Response(await asyncio.to_thread(text.encode), media_type=TEXT)

    @delete(
        "/v1/documents/{document_id:str}",
        status_code=200,
        operation_class=tells(wire.DeletedDocument, errors=(404,)),
    )
    async def delete_document(request: Request[Any, Any, Any], document_id: DocumentId) -> Response[bytes]:
        """Delete a document of the caller's; those that are preloaded for all callers cannot be."""
        await engine.forget(document_id, caller_of(request).tenant)
        return json_response(wire.DeletedDocument(id=document_id))

    return [upload_document, list_documents, retrieve_document, retrieve_content, delete_document]


def _after(infos: Sequence[DocumentInfo], after: str | None) -> Sequence[DocumentInfo]:
    if after is None:
        return infos
    place = next((at for at, info in enumerate(infos) if info.id == after), None)
    if place is None:
        raise DocumentNotFound(f"'after': there is no stored document '{after[:100]}'", param="after")
    return infos[place + 1 :]
