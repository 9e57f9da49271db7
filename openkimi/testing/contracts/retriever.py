"""What every retriever promises, however it ranks and wherever it stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest

from openkimi.contracts import Embedder, Retriever
from openkimi.documents import ANONYMOUS, Document, DocumentInfo, DocumentState, Hit, Query
from openkimi.errors import DocumentNotFound
from openkimi.testing.contracts.comparing import same_chunks, same_hits
from openkimi.testing.contracts.contract import Contract, promise
from openkimi.testing.contracts.texts import TEXTS, any_text
from openkimi.testing.contracts.watching import flowing, give_up
from openkimi.testing.cutting import cut
from openkimi.testing.embedding import HashingEmbedder

_PARAGRAPHS = (
    "The installer offers a guided mode for beginners and asks for the keyboard first.",
    "The harbour master of Quarrel Bay is Ines Vidal, who lives in the lighthouse.",
    "Over 3,000 disputes were settled in version 2.6.32 of the agreement.",
    "Backups are written to tape each week and kept in the vault of a bank.",
    "灯塔建于一九一三年，守塔人名叫林海，他每天夜里点灯。",
    "防火墙默认拒绝所有来自外部的连接，只开放远程登录的端口。",
)
_MANUAL = "\n\n".join(_PARAGRAPHS)
_STRANGERS = ("ana", "o'brien; --", "租户")


class RetrieverContract(Contract):
    """What every retriever promises; it is opened with an embedder that needs no model.

    ``many`` is the number of passages of a large document.
    """

    contract = Retriever
    embedder: Embedder | None = HashingEmbedder()
    many = 1_000

    # Documents

    @promise
    async def test_chunks_come_back_as_they_were_given(self, retriever: Retriever) -> None:
        """Chunks are read in order, whole or by ordinal, each field as it was; unknown ordinals are none."""
        document, chunks = cut(_MANUAL, headings=("Part 一", "Chapter ☃"))
        await retriever.add(document, chunks, fingerprint="f")

        same_chunks(await retriever.read(document.id), chunks)
        same_chunks(await retriever.read(document.id, ordinals=[4, 1, 99, -1]), [chunks[1], chunks[4]])
        assert list(await retriever.read(document.id, ordinals=[])) == []

    @pytest.mark.parametrize("text", [f"\n \n{_MANUAL}\n\n\t", *TEXTS.values()], ids=["padded", *TEXTS])
    @promise
    async def test_a_text_comes_back_to_the_character(self, retriever: Retriever, text: str) -> None:
        """``text`` has what stands between, before and after the chunks, and every kind of character."""
        document, chunks = cut(text)
        await retriever.add(document, chunks[:3], fingerprint="f")

        assert await retriever.text(document.id) == document.text
        same_chunks(await retriever.read(document.id), chunks[:3])

    @promise
    async def test_what_is_known_of_a_document_is_told(self, retriever: Retriever) -> None:
        """``get`` and ``list`` tell the same: counts, fingerprint, name, when it was added, and the state."""
        document, chunks = cut(_MANUAL, name="o'brien 手册.md")
        before = time.time()
        await retriever.add(document, chunks, fingerprint="f1")
        info = await ready(retriever, document.id)

        assert (info.id, info.fingerprint, info.name) == (document.id, "f1", "o'brien 手册.md")
        assert (info.characters, info.chunks) == (len(_MANUAL), len(chunks))
        assert before - 1 <= info.created <= time.time() + 1
        assert (info.kept, info.state) == (False, "ready")
        assert list(await retriever.list()) == [info]

    @promise
    async def test_a_document_is_searched_when_it_is_added(self, retriever: Retriever) -> None:
        """When ``add`` returns the document can be searched, whether or not vectors follow."""
        document, chunks = cut(_MANUAL)
        await retriever.add(document, chunks, fingerprint="f")
        info = await retriever.get(document.id)
        hits = await ask(retriever, _PARAGRAPHS[1], document.id)

        assert info is not None
        assert info.state in get_args(DocumentState)
        same_chunks([hits[0].chunk], [chunks[1]])

    @promise
    async def test_listing_is_oldest_first(self, retriever: Retriever) -> None:
        """Documents are listed in the order in which they were added."""
        ids = [await add(retriever, f"Document {n}") for n in range(4)]

        assert [info.id for info in await retriever.list()] == ids

    @promise
    async def test_an_empty_document_is_one_too(self, retriever: Retriever) -> None:
        """A document without chunks is stored, becomes ready, and answers nothing."""
        document = Document.of("")
        await retriever.add(document, [], fingerprint="f")
        info = await ready(retriever, document.id)

        assert (info.chunks, info.characters) == (0, 0)
        assert list(await retriever.read(document.id)) == []
        assert await retriever.text(document.id) == ""
        assert list(await ask(retriever, "anything", document.id)) == []

    @promise
    async def test_a_document_is_replaced(self, retriever: Retriever) -> None:
        """Added again, it has the new chunks and the new fingerprint only, and is still one document."""
        document, chunks = cut(_MANUAL)
        await retriever.add(document, chunks, fingerprint="f1")
        await retriever.add(document, chunks[:2], fingerprint="f2")
        info = await ready(retriever, document.id)
        hits = await ask(retriever, _PARAGRAPHS[3], document.id)

        assert (info.fingerprint, info.chunks) == ("f2", 2)
        same_chunks(await retriever.read(document.id), chunks[:2])
        assert len(await retriever.list()) == 1
        assert {hit.chunk.ordinal for hit in hits} <= {0, 1}

    @promise
    async def test_kept_stays_and_a_name_stays(self, retriever: Retriever) -> None:
        """Being ``kept`` is never taken back; a name only by another one."""
        described = []
        for more in ({}, {"name": "a.md"}, {"kept": True}, {}, {"name": "手册.md"}):
            document, chunks = cut(_MANUAL)
            await retriever.add(msgspec.structs.replace(document, **more), chunks, fingerprint="f")
            info = await retriever.get(document.id)
            described.append((info.name, info.kept) if info else None)

        assert described == [
            (None, False),
            ("a.md", False),
            ("a.md", True),
            ("a.md", True),
            ("手册.md", True),
        ]

    @promise
    async def test_a_deleted_document_is_gone(self, retriever: Retriever) -> None:
        """``delete`` tells whether there was something; afterwards nothing knows the document."""
        document_id, other = await add(retriever, _MANUAL), await add(retriever, "Another one.")

        assert await retriever.delete(document_id) is True
        assert await retriever.delete(document_id) is False
        assert await retriever.get(document_id) is None
        assert [info.id for info in await retriever.list()] == [other]
        assert list(await ask(retriever, "harbour", document_id)) == []
        with pytest.raises(DocumentNotFound):
            await retriever.read(document_id)

    @promise
    async def test_an_unknown_document_is_told(self, retriever: Retriever) -> None:
        """``read`` and ``text`` raise ``DocumentNotFound``; ``get`` gives None, ``delete`` False."""
        with pytest.raises(DocumentNotFound):
            await retriever.read("doc_unknown")
        with pytest.raises(DocumentNotFound):
            await retriever.text("doc_unknown")
        assert await retriever.get("doc_unknown") is None
        assert await retriever.delete("'; DROP TABLE documents; --") is False
        assert list(await retriever.list()) == []

    @promise
    async def test_only_other_fingerprints_are_outdated(self, retriever: Retriever) -> None:
        """``outdated`` names no document that was added under the fingerprint, and none that is not there."""
        document, chunks = cut(_MANUAL)
        await retriever.add(document, chunks, fingerprint="f1", tenant="ana")

        assert list(await retriever.outdated("f1")) == []
        assert set(await retriever.outdated("f2")) <= {("ana", document.id)}

    # Tenants

    @pytest.mark.parametrize("stranger", _STRANGERS)
    @promise
    async def test_another_tenant_sees_nothing(self, retriever: Retriever, stranger: str) -> None:
        """A foreign document is as one that does not exist: for reading, searching, listing and deleting."""
        document_id = await add(retriever, _MANUAL)

        assert await retriever.get(document_id, tenant=stranger) is None
        assert list(await retriever.list(tenant=stranger)) == []
        assert list(await ask(retriever, "harbour master", document_id, tenant=stranger)) == []
        assert await retriever.delete(document_id, tenant=stranger) is False
        with pytest.raises(DocumentNotFound):
            await retriever.read(document_id, tenant=stranger)
        with pytest.raises(DocumentNotFound):
            await retriever.text(document_id, tenant=stranger)
        assert await ask(retriever, "harbour master", document_id)

    @promise
    async def test_the_same_text_of_two_tenants_is_two_documents(self, retriever: Retriever) -> None:
        """Deleting one tenant's document leaves the other's, with its own name and chunks."""
        document, chunks = cut(_MANUAL)
        for number, tenant in enumerate(_STRANGERS):
            named = msgspec.structs.replace(document, name=tenant)
            await retriever.add(named, chunks[: 6 - number], fingerprint="f", tenant=tenant)
        await retriever.delete(document.id, tenant=_STRANGERS[0])

        for number, tenant in list(enumerate(_STRANGERS))[1:]:
            info = await retriever.get(document.id, tenant=tenant)
            assert info is not None
            assert info.name == tenant
            same_chunks(await retriever.read(document.id, tenant=tenant), chunks[: 6 - number])
            assert await ask(retriever, "harbour", document.id, tenant=tenant)

    # Searching

    @pytest.mark.parametrize("ordinal", range(len(_PARAGRAPHS)))
    @promise
    async def test_a_quoted_passage_comes_first(self, retriever: Retriever, ordinal: int) -> None:
        """A question in the very words of a passage finds that passage, in English and in Chinese."""
        document_id = await add(retriever, _MANUAL)
        await ready(retriever, document_id)

        hits = await ask(retriever, _PARAGRAPHS[ordinal], document_id)

        assert hits[0].chunk.ordinal == ordinal

    @promise
    async def test_hits_are_whole_and_best_first(self, retriever: Retriever) -> None:
        """A hit has the chunk as it was added, scores fall, and no passage comes twice."""
        document, chunks = cut(_MANUAL, headings=("Head",))
        await retriever.add(document, chunks, fingerprint="f")
        hits = await ask(retriever, "the harbour and the vault", document.id, document.id)

        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len({hit.place for hit in hits}) == len(hits) > 0
        same_chunks([hit.chunk for hit in hits], [chunks[hit.chunk.ordinal] for hit in hits])
        assert {hit.document_id for hit in hits} == {document.id}

    @promise
    async def test_what_a_hit_tells_is_in_bounds(self, retriever: Retriever) -> None:
        """``similarity`` is a cosine; ``sentences``, where given, cover the passage and weigh 1 together."""
        document_id = await add(retriever, f"{_MANUAL}\n\nOne sentence here. Another one. A third.")
        await ready(retriever, document_id)
        for hit in await ask(retriever, "harbour, vault and another sentence", document_id):
            assert hit.similarity is None or -1.001 <= hit.similarity <= 1.001
            if hit.sentences:
                borders = [hit.sentences[0].start, *(sentence.end for sentence in hit.sentences)]
                assert [sentence.start for sentence in hit.sentences] == borders[:-1]
                assert (borders[0], borders[-1]) == (0, len(hit.chunk.text))
                assert sum(sentence.weight for sentence in hit.sentences) == pytest.approx(1, abs=1e-3)

    @promise
    async def test_no_more_hits_than_asked_for(self, retriever: Retriever) -> None:
        """``limit`` holds, and a smaller one gives the best of a larger one."""
        document_id = await add(retriever, _MANUAL)
        await ready(retriever, document_id)
        question = "the harbour and the vault"
        every = await ask(retriever, question, document_id)

        for limit in (1, 2, 100):
            same_hits(await ask(retriever, question, document_id, limit=limit), every[:limit])

    @promise
    async def test_the_threshold_spares_what_the_words_found(self, retriever: Retriever) -> None:
        """Under a ``similarity_threshold`` no hit is left that only vectors found, and not near enough."""
        document_id = await add(retriever, _MANUAL)
        await ready(retriever, document_id)
        hits = await ask(retriever, "vault", document_id, similarity_threshold=0.99)

        for hit in hits:
            assert hit.lexical is not None or hit.similarity is None or hit.similarity >= 0.99

    @promise
    async def test_only_the_named_documents_are_searched(self, retriever: Retriever) -> None:
        """Hits come from the documents of the query; ids that nobody knows are passed over."""
        manual = await add(retriever, _MANUAL)
        recipe = await add(retriever, "Beat three eggs.\n\nBake the harbour cake at 180 degrees.")

        both = await ask(retriever, "harbour cake degrees", manual, "doc_unknown", recipe)
        one = await ask(retriever, "harbour cake degrees", manual)

        assert (both[0].document_id, both[0].chunk.ordinal) == (recipe, 1)
        assert {hit.document_id for hit in one} <= {manual}
        assert list(await ask(retriever, "harbour")) == []

    @promise
    async def test_other_documents_change_no_ranking(self, retriever: Retriever) -> None:
        """Adding and deleting other documents, of any tenant, leaves hits and scores exactly as they were."""
        question = "the harbour master and the tape 灯塔"
        document_id = await add(retriever, _MANUAL)
        await ready(retriever, document_id)
        alone = await ask(retriever, question, document_id)
        others = [
            await add(retriever, f"{_MANUAL}\n\nharbour tape {n}", tenant=tenant)
            for n in range(2)
            for tenant in (ANONYMOUS, "ana")
        ]
        beside = await ask(retriever, question, document_id)
        await retriever.delete(others[0])
        afterwards = await ask(retriever, question, document_id)

        same_hits(beside, alone)
        same_hits(afterwards, alone)

    @promise
    async def test_the_same_question_has_the_same_hits(self, retriever: Retriever) -> None:
        """Nothing is left to chance where vectors are complete."""
        document_id = await add(retriever, _MANUAL)
        await ready(retriever, document_id)

        first, *others = [await ask(retriever, "harbour tape", document_id) for _ in range(3)]

        for other in others:
            same_hits(other, first)

    @any_text
    @promise
    async def test_any_question_is_only_text(self, retriever: Retriever, text: str) -> None:
        """Operators, quotes, emoji, control characters and nothing are searched for, or find nothing."""
        document, chunks = cut(_MANUAL)
        await retriever.add(document, chunks, fingerprint="f")

        assert all(hit.chunk in chunks for hit in await ask(retriever, text, document.id))
        assert all(hit.chunk in chunks for hit in await ask(retriever, text * 50, document.id))

    @any_text
    @promise
    async def test_any_passage_can_be_searched(self, retriever: Retriever, text: str) -> None:
        """Passages of any characters are stored and do not hide others."""
        document, chunks = cut(f"{text}\n\n{_PARAGRAPHS[1]}")
        await retriever.add(document, chunks, fingerprint="f")
        hits = await ask(retriever, _PARAGRAPHS[1], document.id)

        assert hits[0].chunk.text == _PARAGRAPHS[1]

    # Many, and at once

    @promise
    async def test_a_needle_is_found_in_a_book(self, retriever: Retriever) -> None:
        """A large document is stored and searched while the event loop goes on."""
        passages = [
            f"On day {n} the ferry made {n % 7} crossings, says log {n * 13}." for n in range(self.many)
        ]
        passages[self.many // 2] = _PARAGRAPHS[1]

        async with flowing(self.longest_pause):
            document_id = await add(retriever, "\n\n".join(passages))
            hits = await ask(retriever, "Who is the harbour master of Quarrel Bay?", document_id)

        assert hits[0].chunk.ordinal == self.many // 2
        assert len(await retriever.read(document_id)) == self.many

    @promise
    async def test_a_document_added_at_once_is_one(self, retriever: Retriever) -> None:
        """Several that add the same document at the same time each find it when they return."""

        async def add_and_ask() -> int:
            return len(await ask(retriever, _PARAGRAPHS[1], await add(retriever, _MANUAL)))

        found = await asyncio.gather(*(add_and_ask() for _ in range(5)))

        assert all(found)
        assert len(await retriever.list()) == 1

    @promise
    async def test_documents_added_at_once_are_all_there(self, retriever: Retriever) -> None:
        """Several documents of several tenants at the same time do not get in each other's way."""
        tenants = [_STRANGERS[n % 3] for n in range(9)]
        texts = [f"{_MANUAL}\n\nNumber {n}." for n in range(9)]
        ids = await asyncio.gather(
            *(add(retriever, text, tenant=tenant) for text, tenant in zip(texts, tenants, strict=True))
        )

        for document_id, text, tenant in zip(ids, texts, tenants, strict=True):
            assert await retriever.text(document_id, tenant=tenant) == text
            assert await ask(retriever, _PARAGRAPHS[1], document_id, tenant=tenant)
        assert [len(await retriever.list(tenant=tenant)) for tenant in _STRANGERS] == [3, 3, 3]

    @promise
    async def test_a_document_may_go_while_it_is_searched(self, retriever: Retriever) -> None:
        """Searches beside adding and deleting find the document whole or not at all, and never fail."""
        document_id = await add(retriever, _MANUAL)

        async def search() -> set[int]:
            found = [await ask(retriever, _PARAGRAPHS[1], document_id) for _ in range(15)]
            return {hits[0].chunk.ordinal for hits in found if hits}

        async def change() -> set[int]:
            for _ in range(5):
                await retriever.delete(document_id)
                await add(retriever, _MANUAL)
            return set()

        best = await asyncio.gather(search(), search(), change())

        assert set.union(*best) <= {1}
        assert await ask(retriever, _PARAGRAPHS[1], document_id)

    @promise
    async def test_a_trim_changes_no_search(self, retriever: Retriever) -> None:
        """``trim`` beside searches leaves their hits as they were, and those of the searches after it."""
        document_id = await add(retriever, _MANUAL)
        await ready(retriever, document_id)
        before = await ask(retriever, _PARAGRAPHS[1], document_id)

        searching = [asyncio.ensure_future(ask(retriever, _PARAGRAPHS[1], document_id)) for _ in range(4)]
        for _ in range(5):
            await asyncio.sleep(0)
            await retriever.trim()
        for hits in await asyncio.gather(*searching):
            same_hits(hits, before)

        same_hits(await ask(retriever, _PARAGRAPHS[1], document_id), before)

    @promise
    async def test_a_trim_loses_no_document(self, retriever: Retriever) -> None:
        """``trim`` beside adding forgets neither what is added nor what was there: text, chunks, name."""
        document, chunks = cut(_MANUAL, name="manual.md")
        await retriever.add(document, chunks, fingerprint="f")
        info = await ready(retriever, document.id)

        adding = asyncio.ensure_future(add(retriever, _PARAGRAPHS[0]))
        for _ in range(5):
            await asyncio.sleep(0)
            await retriever.trim()
        added = await adding

        assert await retriever.get(document.id) == info
        assert await retriever.text(document.id) == document.text
        same_chunks(await retriever.read(document.id), chunks)
        assert await retriever.text(added) == _PARAGRAPHS[0]
        assert await ask(retriever, _PARAGRAPHS[0], added)

    @promise
    async def test_a_cancelled_add_leaves_all_or_nothing(self, retriever: Retriever) -> None:
        """A document whose adding was cancelled is whole or absent, and can be added again."""
        text = "\n\n".join([*_PARAGRAPHS, *(f"Passage {n} of many." for n in range(self.many))])
        document, chunks = cut(text)
        for after in (0.0, 0.005, 0.05):
            adding = retriever.add(document, chunks, fingerprint="f")
            await give_up(adding, after=after, soon=self.soon)
            if await retriever.get(document.id) is not None:
                assert await retriever.text(document.id) == text
                same_chunks(await retriever.read(document.id), chunks)
                await retriever.delete(document.id)
        await retriever.add(document, chunks, fingerprint="f")

        same_chunks(await retriever.read(document.id), chunks)

    @promise
    async def test_a_cancelled_search_harms_nobody(self, retriever: Retriever) -> None:
        """Whoever is cancelled while searching is let go soon, and the next one finds."""
        document_id = await add(retriever, _MANUAL)
        for after in (0.0, 0.001):
            await give_up(ask(retriever, _PARAGRAPHS[1], document_id), after=after, soon=self.soon)

        assert await ask(retriever, _PARAGRAPHS[1], document_id)


async def add(retriever: Retriever, text: str, *, tenant: str = ANONYMOUS) -> str:
    """Add a text, a chunk for each paragraph, and return its id."""
    document, chunks = cut(text)
    await retriever.add(document, chunks, fingerprint="f", tenant=tenant)
    return document.id


async def ask(retriever: Retriever, question: str, *document_ids: str, **more: Any) -> Sequence[Hit]:
    """Search documents."""
    return await retriever.search(Query(text=question, document_ids=document_ids, **more))


async def ready(retriever: Retriever, document_id: str, *, tenant: str = ANONYMOUS) -> DocumentInfo:
    """Wait until a document's vectors are complete."""
    while True:
        info = await retriever.get(document_id, tenant=tenant)
        assert info is not None, "a document that was added is not there"
        if info.state == "ready":
            return info
        await asyncio.sleep(0.01)
