"""PDF as Markdown: text in paragraphs again, and headings by the outline or by the size of their letters."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from openkimi.errors import UnreadableFile
from openkimi.files.paragraphs import Line, letters, paragraphs_of

_EDGE = 2
_GAP = 1.8
_REPEATED = 3


def pdf_text(data: bytes) -> str:
    """Convert a document; pictures are left out.

    Raises:
        UnreadableFile: it is encrypted or damaged, or has pictures of its text only.
    """
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        raise UnreadableFile(_reason(error)) from error
    try:
        pages = [list(_lines(document[number], number)) for number in range(len(document))]
        outline = dict(_outline(document))
    finally:
        document.close()
    if not any(pages):
        raise UnreadableFile(
            "the PDF has no text, only pictures, as a scan has: recognise its text (OCR) first"
        )
    return "\n\n".join(paragraphs_of(_without_running_heads(pages), outline)) + "\n"


def _reason(error: Any) -> str:
    from pypdfium2 import raw

    if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
        return "the PDF is encrypted: save it without a password"
    return "the PDF is damaged: it cannot be opened"


def _lines(page: Any, number: int) -> Iterator[Line]:
    """Read a page line by line, with the place of each line's first and last letter."""
    from pypdfium2 import raw

    text_page = page.get_textpage()
    at = 0
    for text in text_page.get_text_range().split("\n"):
        length = len(text.encode("utf-16-le", "surrogatepass")) // 2
        begin = at + len(text) - len(text.lstrip())
        end = at + length - 1 - (len(text) - len(text.rstrip()))
        at += length + 1
        if not text.strip():
            continue
        first, last = (raw.FPDFText_GetCharIndexFromTextIndex(text_page, index) for index in (begin, end))
        if min(first, last) < 0:
            continue
        left, _, _, top = text_page.get_charbox(first, loose=True)
        right = text_page.get_charbox(last, loose=True)[2]
        size = _size_of(text_page, first)
        yield Line(text=_cleaned(text), page=number, left=left, right=right, top=top, size=size)
    text_page.close()
    page.close()


def _size_of(text_page: Any, index: int) -> float:
    """Measure a letter: its font's size, as it is scaled on the page."""
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text_page, index, matrix)
    size: float = raw.FPDFText_GetFontSize(text_page, index)
    return round(size * math.hypot(matrix.c, matrix.d), 1)


def _cleaned(text: str) -> str:
    """Show the marks that PDFium has for hyphens at the end of a line as soft ones."""
    return " ".join(text.replace("\x02", "\u00ad").replace("\ufffe", "\u00ad").split())


def _outline(document: Any) -> Iterator[tuple[tuple[int, str], int]]:
    """Tell the rank of each heading that the outline names, by its page and its letters."""
    for item in document.get_toc(max_depth=6):
        destination = item.get_dest()
        if destination is not None and destination.get_index() is not None:
            yield (destination.get_index(), letters(item.get_title() or "")), item.level + 1


def _without_running_heads(pages: Sequence[Sequence[Line]]) -> list[Line]:
    """Drop what stands at the edge of many pages with nothing but its number changed."""
    seen = Counter(key for page in pages for key in {_key(line) for line in _edges(page)})
    least = max(_REPEATED, len(pages) // 4)
    kept: list[Line] = []
    for page in pages:
        running = {id(line) for line in _edges(page) if seen[_key(line)] >= least}
        kept += [line for line in page if id(line) not in running]
    return kept


def _edges(page: Sequence[Line]) -> list[Line]:
    """Return the few lines at the beginning and at the end of a page that stand apart from its text."""
    return [*_apart(page), *_apart(page[::-1])]


def _apart(lines: Sequence[Line]) -> Sequence[Line]:
    for count, (line, following) in enumerate(itertools.pairwise(lines[: _EDGE + 1]), 1):
        if abs(line.top - following.top) > _GAP * line.size:
            return lines[:count]
    return lines if len(lines) == 1 else ()


def _key(line: Line) -> str:
    return "".join(letter for letter in line.text.casefold() if letter.isalpha())
