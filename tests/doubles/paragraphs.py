"""A processor whose work can be counted and held up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from openkimi import Chunk, Document, Processor


class Paragraphs(Processor):
    """Cuts at blank lines, and waits while ``gate`` is closed."""

    def __init__(self, version: str = "1") -> None:
        self._version = version
        self.calls = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def version(self) -> str:
        return self._version

    async def process(self, document: Document) -> Sequence[Chunk]:
        self.calls += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        chunks, start = [], 0
        for ordinal, text in enumerate(document.text.split("\n\n")):
            start = document.text.index(text, start)
            chunks.append(
                Chunk(
                    key=Chunk.key_of(text, (), self._version),
                    text=text,
                    start=start,
                    end=start + len(text),
                    ordinal=ordinal,
                    density=len(text) / 100,
                )
            )
        return chunks
