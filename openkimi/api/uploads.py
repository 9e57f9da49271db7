"""Uploads in each of their shapes: JSON with a text, a form with a file, or the file as it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import unquote

import msgspec
from litestar.exceptions import HTTPException

from openkimi.api.body import decode_json
from openkimi.api.documents_schemas import LONGEST_NAME, UploadRequest
from openkimi.api.form import FormPart, parse_form
from openkimi.api.media_type import MediaType, is_json, media_type_of, refuse_charset, refuse_unasked
from openkimi.api.openapi import FORM
from openkimi.errors import RequestError
from openkimi.files.converting import Converter
from openkimi.files.formats import FORMATS

_SENT_BY_CURL = {"", "application/x-www-form-urlencoded"}
"""What JSON comes as from a client that names no type."""
_BOM = b"\xef\xbb\xbf"
BINARY = "application/octet-stream"
FILE_TYPES = (*(kind for known in FORMATS for kind in known.media_types), BINARY)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was sent: its text and what it is called."""

    text: str
    name: str | None = None


async def upload_of(
    headers: Mapping[str, str], body: bytes, converter: Converter, *, name: str | None = None
) -> Upload:
    """Read an upload; ``name`` is the one that the address has, for a file that is sent as it is.

    Raises:
        HTTPException: 415 for a type that is not read here.
        RequestError: a field is missing or wrong, or the file cannot be read.
    """
    sent = media_type_of(headers.get("content-type", ""))
    if is_json(sent.kind) or sent.kind in _SENT_BY_CURL:
        refuse_charset(sent)
        if not is_json(sent.kind) and not body.lstrip().startswith((b"{", _BOM)):
            raise RequestError(
                "the body: expected a JSON object with a 'text'; a file needs its type, such as "
                "'Content-Type: application/pdf'",
                code="invalid_json",
            )
        asked = await decode_json(body, UploadRequest)
        return Upload(text=asked.text, name=clean_name(asked.name) or clean_name(name))
    if sent.kind == FORM:
        return await _of_form(await asyncio.to_thread(parse_form, body, sent.boundary), converter, name)
    if not body:
        raise RequestError("the body is empty: send a file, or JSON with a 'text'", code="invalid_value")
    return await _of_file(body, sent, converter, clean_name(name))


def refuse_types(headers: Mapping[str, str], origins: tuple[str, ...]) -> None:
    """Refuse what will not be read before it is.

    Raises:
        HTTPException: 415, the type is none of a document, or comes from a page that may not send it.
    """
    kind = media_type_of(headers.get("content-type", "")).kind
    if not (is_json(kind) or kind in _SENT_BY_CURL or kind == FORM or kind in FILE_TYPES):
        raise HTTPException(
            detail=f"a body of the type '{kind[:100]}' is not read here: send JSON, a form with a 'file', or "
            "a text, Markdown, HTML, PDF or DOCX file",
            status_code=415,
        )
    refuse_unasked(headers, kind, origins)


def clean_name(name: str | None) -> str | None:
    """Return a name without control characters, None where nothing is left.

    Raises:
        RequestError: it is too long.
    """
    cleaned = _CONTROLS.sub(" ", name or "").strip()
    if len(cleaned) > LONGEST_NAME:
        raise RequestError(
            f"'name': expected a string of length <= {LONGEST_NAME}", param="name", code="invalid_value"
        )
    return cleaned or None


async def _of_form(fields: Mapping[str, FormPart], converter: Converter, name: str | None) -> Upload:
    part = fields.get("file")
    if part is None:
        raise RequestError("'file' is required", param="file", code="missing_required_parameter")
    if "name" in fields:
        name = fields["name"].data.decode("utf-8", "replace")
    file_name = clean_name(_file_name(part.file_name or ""))
    upload = await _of_file(part.data, media_type_of(part.media_type), converter, file_name)
    return msgspec.structs.replace(upload, name=clean_name(name) or upload.name)


def _file_name(sent: str) -> str:
    """Return a file's name without its folders; some clients percent-encode it (RFC 7578), most do not."""
    with suppress(UnicodeDecodeError):
        sent = unquote(sent, errors="strict")
    return re.split(r"[/\\]", sent)[-1][-LONGEST_NAME:]


async def _of_file(data: bytes, sent: MediaType, converter: Converter, name: str | None) -> Upload:
    text = await converter.text_of(
        data, name=name, media_type=sent.kind or None, charset=sent.charset or None
    )
    return Upload(text=text, name=name)
