"""A process that converts one file and ends; what is wrong with the file harms nobody else.

It reads the file from standard input, and writes ``+`` and the text, or ``-`` and what is wrong with it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from openkimi.errors import UnreadableFile
from openkimi.files.decoding import decode
from openkimi.files.docx import docx_text
from openkimi.files.formats import DOCX, HTML, PDF
from openkimi.files.markdown import markdown_of
from openkimi.files.pdf import pdf_text

_MEMORY = 2**30
_CPU_SECONDS = 300
_MOST_CHARACTERS = 64_000_000


def main() -> None:
    """Convert the file on standard input, of the format named by the first argument."""
    output, sys.stdout = sys.stdout.buffer, sys.stderr
    data = sys.stdin.buffer.read()
    _bound_resources(_MEMORY + 8 * len(data))
    try:
        answer = "+" + _convert(data, *sys.argv[1:3])
    except UnreadableFile as error:
        answer = f"-{error.message}"
    except MemoryError:
        answer = "-the file takes too much memory to convert: split it"
    except RecursionError:
        answer = "-the file is nested too deeply"
    except Exception as error:  # noqa: BLE001 - the libraries raise anything at a damaged file
        answer = f"-the file is damaged ({type(error).__name__})"
    output.write(answer.encode("utf-8", "replace"))
    output.flush()


def _convert(data: bytes, title: str, charset: str) -> str:
    if title == HTML.title:
        text = markdown_of(_page(data, charset))
    else:
        text = {PDF.title: pdf_text, DOCX.title: docx_text}[title](data)
    if len(text) > _MOST_CHARACTERS:
        raise UnreadableFile(f"the text has more than {_MOST_CHARACTERS} characters: split the file")
    return text


def _page(data: bytes, charset: str) -> str:
    """Decode a page, by what it says of itself only where it is not UTF-8: many say what they were once."""
    if not charset:
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8-sig")
        with suppress(UnreadableFile):
            return decode(data, _declared_charset(data))
    return decode(data, charset)


def _declared_charset(page: bytes) -> str | None:
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(page, is_html=True)
    return None if declared is None else str(declared)


def _bound_resources(memory: int) -> None:
    """Bound time and memory, where the system can; what is loaded already does not count."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    bounds = {
        resource.RLIMIT_CPU: _CPU_SECONDS,
        resource.RLIMIT_AS: memory + _loaded_bytes(),
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in bounds.items():
        with suppress(ValueError, OSError):  # a lower bound stands already
            resource.setrlimit(kind, (most, most))


def _loaded_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _MEMORY


if __name__ == "__main__":
    main()
