"""Forms with a file in them, as ``multipart/form-data``."""

from __future__ import annotations

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from openkimi.errors import RequestError

_MOST_PARTS = 64


class FormPart(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a form, with the name and the type of its file where it is one."""

    data: bytes
    file_name: str | None = None
    media_type: str = ""


def parse_form(body: bytes, boundary: str) -> dict[str, FormPart]:
    """Take a form apart into its fields, the first of those that came twice.

    Raises:
        RequestError: it is damaged, or has too many fields.
    """
    if not boundary:
        raise _damaged("its Content-Type names no boundary")
    fields: dict[str, FormPart] = {}
    segment: MultipartSegment | None = None
    parts: list[bytes] = []
    try:
        with PushMultipartParser(boundary, max_segment_count=_MOST_PARTS) as parser:
            for event in (*parser.parse(body), *parser.parse(b"")):
                if isinstance(event, MultipartSegment):
                    segment, parts = event, []
                elif event is not None:
                    parts.append(bytes(event))
                elif segment is not None:
                    fields.setdefault(segment.name, _part(segment, parts))
    except (MultipartError, ValueError) as error:
        raise _damaged(str(error)) from error
    return fields


def _part(segment: MultipartSegment, parts: list[bytes]) -> FormPart:
    return FormPart(
        data=b"".join(parts),
        file_name=segment.filename or None,
        media_type=segment.header("Content-Type", "") if segment.filename else "",
    )


def _damaged(reason: str) -> RequestError:
    return RequestError(f"the form cannot be read: {reason}", code="invalid_form")
