"""The processor: cuts documents and scores their chunks in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from openkimi import Chunk, Document, Embedder, PluginError, Processor, report_progress
from openkimi_entropy.chunking import CHUNKER, Passage, cut
from openkimi_entropy.density import SCORERS, SCORING
from openkimi_entropy.lines import Check, Stopped
from openkimi_entropy.novelty import embed_passages, semantic_density
from openkimi_entropy.options import EntropyOptions

T = TypeVar("T")


class EntropyProcessor(Processor):
    """Cuts at headings, paragraphs and sentences, and scores by the chosen method.

    ``embedder`` is needed by the method ``semantic`` alone.
    """

    def __init__(self, options: EntropyOptions, embedder: Embedder | None = None) -> None:
        if options.entropy_method == "semantic" and embedder is None:
            raise PluginError("entropy_method 'semantic' needs an embedder")
        self._options = options
        self._embedder = embedder
        self._measure = options.measure
        bound, cjk, overlap = self._measure
        self._cutting = f"{CHUNKER}:{bound:g}:{cjk:g}:{overlap:g}"

    @property
    def version(self) -> str:
        """How chunks are cut and scored; their keys depend on how they are cut alone."""
        options = self._options
        scoring = f"{SCORING}:{options.entropy_method}:{options.entropy_threshold}"
        embedder = f":{self._embedder.fingerprint}" if self._embedder is not None else ""
        return f"{self._cutting}:{scoring}{embedder}"

    async def process(self, document: Document) -> Sequence[Chunk]:
        """Cut a document into chunks and score them."""
        if self._embedder is None:
            return await _in_thread(lambda check: self._chunks(document.text, check))
        passages = await _in_thread(lambda check: list(cut(document.text, self._measure, check)))
        texts = [document.text[passage.start : passage.end] for passage in passages]
        vectors = await embed_passages(self._embedder, texts)
        return await _in_thread(
            lambda check: self._scored(document.text, passages, semantic_density(vectors), check)
        )

    def _chunks(self, text: str, check: Check) -> list[Chunk]:
        passages = []
        for passage in cut(text, self._measure, check):
            passages.append(passage)
            report_progress(passage.end, len(text))
        scores = SCORERS[self._options.entropy_method](text, passages, check)
        return self._scored(text, passages, scores, check)

    def _scored(
        self, text: str, passages: Sequence[Passage], scores: Sequence[float], check: Check
    ) -> list[Chunk]:
        threshold = self._options.entropy_threshold or 0.0
        chunks = []
        for ordinal, (passage, score) in enumerate(zip(passages, scores, strict=True)):
            check()
            passage_text = text[passage.start : passage.end]
            chunks.append(
                Chunk(
                    key=Chunk.key_of(passage_text, passage.headings, self._cutting),
                    text=passage_text,
                    start=passage.start,
                    end=passage.end,
                    ordinal=ordinal,
                    headings=passage.headings,
                    density=score if score >= threshold else 0.0,
                )
            )
        return chunks


async def _in_thread(work: Callable[[Check], T]) -> T:
    """Run work in a thread that stops at its next check when the call is cancelled."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    try:
        return await asyncio.to_thread(work, check)
    finally:
        stop.set()
