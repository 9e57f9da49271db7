"""The formats of files that can be read, and how one is told from another."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath

import msgspec

from openkimi.errors import UnsupportedFile

_HEAD = 1024
_PDF, _ZIP, _OLE, _RTF = b"%PDF-", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{\\rtf"
_TEXTUAL = re.compile(r"text/|application/.*(?:json|xml|ya?ml|toml|csv|javascript|x-tex|sql)$")
"""Types of what is text, whatever it says."""
_BINARY = "application/octet-stream"


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of file: what it is called, what names it, and the modules that its conversion needs."""

    title: str
    media_types: tuple[str, ...]
    suffixes: tuple[str, ...]
    modules: tuple[str, ...] = ()


TEXT = Format(
    title="text",
    media_types=("text/plain",),
    suffixes=(".txt", ".text", ".log"),
)
MARKDOWN = Format(
    title="Markdown",
    media_types=("text/markdown", "text/x-markdown"),
    suffixes=(".md", ".markdown"),
)
HTML = Format(
    title="HTML",
    media_types=("text/html", "application/xhtml+xml"),
    suffixes=(".html", ".htm", ".xhtml"),
    modules=("bs4", "lxml", "markdownify"),
)
PDF = Format(
    title="PDF",
    media_types=("application/pdf",),
    suffixes=(".pdf",),
    modules=("pypdfium2",),
)
DOCX = Format(
    title="DOCX",
    media_types=("application/vnd.openxmlformats-officedocument.wordprocessingml.document",),
    suffixes=(".docx",),
    modules=("mammoth", "bs4", "lxml", "markdownify"),
)
FORMATS = (TEXT, MARKDOWN, HTML, PDF, DOCX)


def format_of(data: bytes, *, name: str | None = None, media_type: str | None = None) -> Format:
    """Tell a file's format: by how it begins, by the type it was sent with, by its name.

    A file of no known type is taken for text unless it has bytes that no text has.

    Raises:
        UnsupportedFile: it is of a format that is not read here.
    """
    if data[:_HEAD].lstrip().startswith(_PDF):
        return PDF
    if data.startswith((_OLE, _RTF)):
        raise UnsupportedFile(
            "an RTF, old or encrypted Office file is not read here: save it as .docx without a password"
        )
    suffix = PurePath(name).suffix.lower() if name else ""
    by_type = _find(lambda known: media_type in known.media_types)
    by_name = _find(lambda known: suffix in known.suffixes)
    if data.startswith(_ZIP):
        is_word = b"word/" in data or DOCX in (by_type, by_name)
        return _known(DOCX if is_word else None, suffix, media_type)
    if media_type not in (None, _BINARY) and not _TEXTUAL.match(media_type):
        return _known(by_type, suffix, media_type)
    # Senders call every text text/plain, and a name says more.
    found = (by_name or by_type) if by_type in (TEXT, None) else by_type
    if found in (PDF, DOCX):
        return found  # its converter says that it is damaged
    if _is_binary(data):
        if found is not None or _TEXTUAL.match(media_type or ""):
            raise UnsupportedFile("the file holds binary data and is no text: save it as text in UTF-8")
        return _known(None, suffix, media_type)
    return found or TEXT


def _find(is_it: Callable[[Format], bool]) -> Format | None:
    return next((known for known in FORMATS if is_it(known)), None)


def _known(found: Format | None, suffix: str, media_type: str | None) -> Format:
    if found is not None:
        return found
    what = f"'{suffix[:20]}'" if suffix else f"the type '{media_type[:100]}'" if media_type else "this type"
    titles = ", ".join(known.title for known in FORMATS)
    raise UnsupportedFile(f"a file of {what} is not read here: send {titles}")


def _is_binary(data: bytes) -> bool:
    """Tell whether there are zero bytes in what has no byte order mark of a wide encoding."""
    return b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
