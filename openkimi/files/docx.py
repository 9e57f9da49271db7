"""Word's DOCX as Markdown, by way of HTML."""

from __future__ import annotations

import io
import zipfile

from openkimi.errors import UnreadableFile
from openkimi.files.markdown import markdown_of

_MOST_UNPACKED = 256 * 2**20
_STYLES = "\n".join(
    [
        "p[style-name='Title'] => h1:fresh",
        "p[style-name='标题'] => h1:fresh",
        *(f"p[style-name='标题 {rank}'] => h{rank}:fresh" for rank in range(1, 7)),
    ]
)
"""What Word and WPS call headings beside the names that every version knows."""


def docx_text(data: bytes) -> str:
    """Convert a document; pictures are left out.

    Raises:
        UnreadableFile: it is no Word document, or unpacks to more than can be read.
    """
    import mammoth

    file = io.BytesIO(data)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise UnreadableFile("the DOCX file is damaged: it is no ZIP archive") from error
    if not any(member.filename == "word/document.xml" for member in members):
        raise UnreadableFile("this is no Word document: there is no 'word/document.xml' in it")
    if sum(member.file_size for member in members) > _MOST_UNPACKED:
        raise UnreadableFile(f"the DOCX file unpacks to more than {_MOST_UNPACKED} bytes")
    html = mammoth.convert_to_html(file, style_map=_STYLES, convert_image=lambda image: [])
    return markdown_of(html.value)
