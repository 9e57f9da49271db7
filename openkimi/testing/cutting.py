"""Cuts a text as simply as can be, for tests that need chunks and no processor."""

from __future__ import annotations

from openkimi.documents import Chunk, Document

_VERSION = "paragraphs 1"


def cut(
    text: str, headings: tuple[str, ...] = (), *, name: str | None = None
) -> tuple[Document, list[Chunk]]:
    """Make a document of a text, and a chunk of each of its paragraphs.

    Paragraphs are what blank lines part; every one but those of white space is a chunk. Densities fall.
    """
    document = Document.of(text, name=name)
    chunks: list[Chunk] = []
    start = 0
    for paragraph in document.text.split("\n\n"):
        if paragraph.strip():
            chunks.append(
                Chunk(
                    key=Chunk.key_of(paragraph, headings, _VERSION),
                    text=paragraph,
                    start=start,
                    end=start + len(paragraph),
                    ordinal=len(chunks),
                    headings=headings,
                    density=1 / (3 + len(chunks)),
                )
            )
        start += len(paragraph) + 2
    return document, chunks
