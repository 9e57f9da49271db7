"""What every processor promises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from openkimi.contracts import Processor
from openkimi.documents import Chunk, Document
from openkimi.testing.contracts.comparing import same_chunks
from openkimi.testing.contracts.contract import Contract, promise
from openkimi.testing.contracts.texts import EMPTY, LONE_SURROGATE, TEXTS
from openkimi.testing.contracts.watching import flowing, give_up

_SENTENCES = " ".join(f"On day {n} the ferry made {n % 7 + 1} crossings in calm weather." for n in range(300))
_BOOK = "\n\n".join(f"# Chapter {n}\n\n{_SENTENCES}" for n in range(40))
DOCUMENTS = {
    **TEXTS,
    "a lone surrogate": LONE_SURROGATE,
    "all of them": "\n\n".join(TEXTS.values()),
    "a long paragraph": _SENTENCES,
    "a long line without spaces": "x" * 50_000,
    "long chinese without marks": "灯塔建于海边" * 5_000,
    "many blank lines": f"  \n\n\n{'A line.' + chr(10) * 50}" * 20,
    "windows line ends": "# Head\r\n\r\nOne line.\r\nAnother line.\r\n" * 30,
    "headings only": "# One\n## Two\n### Three\n" * 20,
    "a table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 500,
    "code": "```python\nfor i in range(10):\n    print(i)\n```\n" * 50,
    "the same again": "The same sentence again. " * 400,
}
each_document = pytest.mark.parametrize("text", DOCUMENTS.values(), ids=list(DOCUMENTS))


class ProcessorContract(Contract):
    """What every processor promises."""

    contract = Processor

    @each_document
    @promise
    async def test_chunks_are_passages_of_the_document(self, processor: Processor, text: str) -> None:
        """A chunk's ``text`` is ``document.text[start:end]``; ``ordinal`` counts the chunks from 0."""
        document = Document.of(text)
        chunks = await processor.process(document)

        assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
        for chunk in chunks:
            assert 0 <= chunk.start < chunk.end <= len(document.text)
            assert chunk.text == document.text[chunk.start : chunk.end]

    @each_document
    @promise
    async def test_chunks_come_in_order_and_miss_nothing(self, processor: Processor, text: str) -> None:
        """Chunks follow the document; they may overlap, and what no chunk has is white space."""
        document = Document.of(text)
        chunks = await processor.process(document)

        assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)
        assert not missed(document.text, chunks).strip()

    @each_document
    @promise
    async def test_the_density_is_a_share(self, processor: Processor, text: str) -> None:
        """``density`` is from 0 to 1, and ``headings`` are texts, outermost first."""
        for chunk in await processor.process(Document.of(text)):
            assert 0 <= chunk.density <= 1
            assert all(isinstance(heading, str) for heading in chunk.headings)

    @each_document
    @promise
    async def test_the_same_document_gives_the_same_chunks(self, processor: Processor, text: str) -> None:
        """Chunks depend on the document's text alone: not on its name, nor on who cut before."""
        first = await processor.process(Document.of(text))
        async with self.open() as other:
            again = await other.process(Document.of(text, name="other.md", kept=True))

        same_chunks(again, first)

    @pytest.mark.parametrize("text", EMPTY.values(), ids=list(EMPTY))
    @promise
    async def test_an_empty_document_gives_none(self, processor: Processor, text: str) -> None:
        """Where there is nothing to read there is nothing to find: no chunk, or none with a text."""
        chunks = await processor.process(Document.of(text))

        assert not "".join(chunk.text for chunk in chunks).strip()
        assert text or not chunks

    @promise
    async def test_a_key_names_what_a_chunk_says(self, processor: Processor) -> None:
        """Equal texts under equal headings have one key, in whatever document; others have others."""
        text = f"{_SENTENCES}\n\n{_SENTENCES[:5_000]}"
        chunks = [
            *await processor.process(Document.of(text)),
            *await processor.process(Document.of(f"{text} And something new.")),
        ]
        keys = {(chunk.text, chunk.headings): chunk.key for chunk in chunks}

        assert all(keys[chunk.text, chunk.headings] == chunk.key for chunk in chunks)
        assert len(set(keys.values())) == len(keys)
        assert all(keys.values())

    @promise
    async def test_the_version_is_a_name_that_stays(self, processor: Processor) -> None:
        """``version`` is the same for the same options, as what is stored is cut anew when it changes."""
        async with self.open() as other:
            assert other.version == processor.version
        assert processor.version

    @promise
    async def test_documents_at_once_are_cut_each_for_itself(self, processor: Processor) -> None:
        """Several documents at the same time, one of them twice, give what they give alone."""
        documents = [Document.of(f"Document {n}. {_SENTENCES[n:]}") for n in range(6)]

        together = await asyncio.gather(*map(processor.process, [*documents, documents[0]]))

        same_chunks(together[-1], together[0])
        for document, chunks in zip(documents[:3], together, strict=False):
            same_chunks(chunks, await processor.process(document))

    @promise
    async def test_a_trim_changes_no_chunk(self, processor: Processor) -> None:
        """``trim`` in the middle of a document lets it be cut to its end, into the same chunks."""
        document = Document.of(f"{_SENTENCES} Trimmed.")
        before = await processor.process(document)

        processing = asyncio.ensure_future(processor.process(document))
        await asyncio.sleep(0)
        await processor.trim()

        same_chunks(await processing, before)
        same_chunks(await processor.process(document), before)

    @promise
    async def test_a_book_holds_nobody_up(self, processor: Processor) -> None:
        """Several hundred thousand characters are cut while the event loop goes on."""
        document = Document.of(_BOOK)

        async with flowing(self.longest_pause):
            chunks = await processor.process(document)

        assert len(chunks) > 1
        assert not missed(document.text, chunks).strip()

    @promise
    async def test_a_cancelled_call_stops_soon(self, processor: Processor) -> None:
        """Whoever is cancelled is let go soon, and the next document is cut."""
        for after in (0.0, 0.05):
            await give_up(processor.process(Document.of(_BOOK)), after=after, soon=self.soon)

        assert await processor.process(Document.of(_SENTENCES))


def missed(text: str, chunks: Sequence[Chunk]) -> str:
    """Join what no chunk has."""
    left, at = [], 0
    for chunk in chunks:
        left.append(text[at : chunk.start])
        at = max(at, chunk.end)
    return "".join([*left, text[at:]])
