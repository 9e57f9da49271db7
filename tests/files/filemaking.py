"""Small real files, made by hand."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence

Placed = tuple[float, float, float, str]
"""A line of a page: the size of its letters, its distances from the left and from the bottom, its text."""


def pdf(*pages: Sequence[Placed], outline: Sequence[tuple[str, int]] = (), encrypted: bool = False) -> bytes:
    """Make a PDF; text in Chinese takes a font that every reader brings along, Latin text Helvetica."""
    objects: list[bytes] = [
        b"",  # the catalogue, which comes last
        b"",  # the pages
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H/DescendantFonts[5 0 R]>>",
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/FontDescriptor 6 0 R"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(GB1)/Supplement 2>>>>",
        b"<</Type/FontDescriptor/FontName/STSong-Light/Flags 4/FontBBox[0 -200 1000 900]/ItalicAngle 0"
        b"/Ascent 800/Descent -200/CapHeight 700/StemV 80>>",
    ]
    kids = []
    for page in pages:
        content = zlib.compress(b"".join(map(_shown, page)), 9)
        objects.append(b"<</Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (len(content), content))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>" % len(objects)
        )
        kids.append(len(objects))
    listed = b" ".join(b"%d 0 R" % kid for kid in kids)
    objects[1] = b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), listed)
    catalogue = b"/Type/Catalog/Pages 2 0 R"
    if outline:
        root = len(objects) + 1
        catalogue += b"/Outlines %d 0 R" % root
        last = root + len(outline)
        objects.append(
            b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>" % (root + 1, last, len(outline))
        )
        for at, (title, page_number) in enumerate(outline, root + 1):
            around = (b"/Next %d 0 R" % (at + 1) if at < last else b"") + (
                b"/Prev %d 0 R" % (at - 1) if at > root + 1 else b""
            )
            objects.append(
                b"<</Title(%b)/Parent %d 0 R/Dest[%d 0 R/Fit]%b>>"
                % (title.encode(), root, kids[page_number], around)
            )
    objects[0] = b"<<" + catalogue + b">>"
    lock = b"/Encrypt<</Filter/Standard/V 1/R 2/P -4/O(%b)/U(%b)>>/ID[(a)(a)]" % (b"o" * 32, b"u" * 32)
    return _file(objects, lock if encrypted else b"")


def _shown(placed: Placed) -> bytes:
    size, left, bottom, text = placed
    try:
        font, shown = b"F1", text.encode("cp1252")
    except UnicodeEncodeError:
        font, shown = b"F2", text.encode("utf-16-be")
    return b"BT /%b %g Tf %g %g Td <%b> Tj ET\n" % (font, size, left, bottom, shown.hex().encode())


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    written, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        written
        + b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF"
        % (
            len(objects) + 1,
            table,
            len(objects) + 1,
            trailer,
            len(written),
        )
    )


def docx(*paragraphs: tuple[str, str], extra: int = 0) -> bytes:
    """Make a DOCX of paragraphs, each with the name of its style; ``extra`` zeros stand beside them."""
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    office = "http://schemas.openxmlformats.org"
    styles = sorted({style for style, _ in paragraphs if style})
    ids = {style: f"s{number}" for number, style in enumerate(styles)}
    body = "".join(
        f"<w:p>{f'<w:pPr><w:pStyle w:val={chr(34)}{ids[style]}{chr(34)}/></w:pPr>' if style else ''}"
        f"<w:r><w:t>{text}</w:t></w:r></w:p>"
        for style, text in paragraphs
    )
    named = "".join(
        f'<w:style w:type="paragraph" w:styleId="{ids[style]}"><w:name w:val="{style}"/></w:style>'
        for style in styles
    )
    content = "application/vnd.openxmlformats"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{office}/package/2006/content-types">'
        f'<Default Extension="rels" ContentType="{content}-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" '
        f'ContentType="{content}-officedocument.wordprocessingml.document.main+xml"/></Types>',
        "_rels/.rels": _relation(office, "officeDocument", "word/document.xml"),
        "word/_rels/document.xml.rels": _relation(office, "styles", "styles.xml"),
        "word/styles.xml": f'<w:styles xmlns:w="{word}">{named}</w:styles>',
        "word/document.xml": f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>',
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
        if extra:
            archive.writestr("word/media/zeros.bin", bytes(extra))
    return file.getvalue()


def _relation(office: str, kind: str, target: str) -> str:
    return (
        f'<Relationships xmlns="{office}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument/2006/relationships/{kind}" Target="{target}"/></Relationships>'
    )
