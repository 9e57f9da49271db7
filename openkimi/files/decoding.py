"""Bytes as text: UTF-8 where it is that, and otherwise what it most likely is."""

from __future__ import annotations

import codecs

from openkimi.errors import UnreadableFile

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LIKELY = ["gb18030", "big5", "cp932", "cp949", "cp1251", "cp1252"]
_TAKEN_FOR_CHINESE = ("big5", "cp1252")
"""What a short text in Chinese is mistaken for."""


def decode(data: bytes, charset: str | None = None) -> str:
    """Decode a text: by its byte order mark, by the charset it was sent with, as UTF-8, or by its look.

    Raises:
        UnreadableFile: no charset fits, or the one it was sent with does not.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding)
    if charset:
        return _decoded(data, _widest(charset))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decoded(data, _guess(data))


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except LookupError as error:
        raise UnreadableFile(f"the charset '{encoding[:40]}' is not known here: send UTF-8") from error
    except (UnicodeError, ValueError) as error:
        raise UnreadableFile(f"the text is not in {encoding[:40]}: send UTF-8") from error


def _widest(charset: str) -> str:
    """Return the widest of a family of charsets, which is what senders mean by the others."""
    name = charset.strip().strip("\"'").lower()
    return {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252"}.get(name, name)


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data, cp_isolation=_LIKELY).best()
    if best is None or best.encoding in _TAKEN_FOR_CHINESE:
        try:
            data.decode("gb2312")
        except UnicodeDecodeError:
            pass
        else:
            return "gb18030"
    if best is None:
        raise UnreadableFile("the text is in no charset that was recognised: send UTF-8")
    return best.encoding
