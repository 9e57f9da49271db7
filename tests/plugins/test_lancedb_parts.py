"""The parts of a passage that have vectors: the whole and its sentences."""

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import openkimi_lancedb
import openkimi_use
from openkimi import Chunk, Document, Query, Retriever
from openkimi.testing import open_component
from openkimi_lancedb.parts import MOST, likeness, parts_of, unwrapped

MIXED = (
    "The parish council met on the second Tuesday of the month in the usual hall. "
    "Minutes of the meeting before were read aloud and found to be correct. "
    "A veterinarian will examine the sheep of every farm before the first snow. "
    "The roof of the school is to be repaired with slate in the coming summer. "
    "The treasurer reported that the accounts had been closed without a deficit."
)
DULL = "\n\n".join(
    f"The {name} committee approved the budget of its department and thanked the members for their work."
    for name in ("road", "library", "harbour", "music", "forest", "water")
)


def squashed(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(st.text(alphabet=st.sampled_from('ab .!?\n。？；”"中文字'), max_size=400))
def test_the_sentences_make_up_the_passage(text: str) -> None:
    """Nothing of a passage is left out of its sentences, and their number is bounded."""
    whole, *sentences = parts_of(text)

    assert whole == unwrapped(text)
    assert squashed(whole) == squashed(text)
    assert not sentences or squashed("".join(sentences)) == squashed(text)
    assert len(sentences) < MOST


def test_short_sentences_go_together() -> None:
    """A sentence of a few words says too little alone."""
    assert parts_of("Yes. No. Perhaps.") == ["Yes. No. Perhaps."]
    assert len(parts_of(MIXED)) == 6
    assert len(parts_of("安装程序为初学者提供引导模式，逐步询问语言和键盘。" * 3)) == 4


def test_a_long_passage_has_few_parts() -> None:
    """A passage of any length has at most 17 vectors."""
    assert len(parts_of(MIXED * 200)) <= MOST


def test_likeness_is_between_the_whole_and_its_best_sentence() -> None:
    """One telling sentence lifts a passage; without sentences the whole stands alone."""
    assert likeness([0.25]) == 0.25
    assert likeness([0.25, 0.0, 0.75]) == 0.5


def chunks_of(text: str) -> list[Chunk]:
    chunks, start = list[Chunk](), 0
    for paragraph in text.split("\n\n"):
        key = Chunk.key_of(paragraph, (), "parts")
        end = start + len(paragraph)
        chunks.append(Chunk(key=key, text=paragraph, start=start, end=end, ordinal=len(chunks)))
        start = end + 2
    return chunks


async def ready(store: Retriever, document: Document) -> None:
    async with asyncio.timeout(60):
        while (info := await store.get(document.id)) is None or info.state != "ready":
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "question",
    ["Who looks after the health of livestock before winter?", "入冬之前谁来检查农场的绵羊？"],
)
async def test_a_sentence_among_others_is_found_by_its_meaning(tmp_path: Path, question: str) -> None:
    """A passage of many matters is found by any of them, in another language too."""
    text = f"{DULL}\n\n{MIXED}"
    document = Document.of(text)
    retrievers = next(iter(openkimi_lancedb.register_retrievers()))
    async with open_component(next(iter(openkimi_use.register_embedders()))) as embedder:
        async with open_component(retrievers, embedder=embedder, path=str(tmp_path)) as store:
            await store.add(document, chunks_of(text), fingerprint="parts")
            await ready(store, document)

            best = (await store.search(Query(text=question, document_ids=(document.id,))))[0]
            whole, asked = await embedder.embed([MIXED]), await embedder.embed([question], input_type="query")

    assert best.chunk.text == MIXED
    assert best.similarity is not None
    assert best.similarity > float(whole[0] @ asked[0])


async def test_an_edited_document_takes_its_parts_along(tmp_path: Path) -> None:
    """Vectors of sentences are inherited as those of whole passages are: similarities stay the same."""
    text, edited = f"{MIXED}\n\n{DULL}", f"{MIXED}\n\n{DULL}\n\nThe end of it."
    retrievers = next(iter(openkimi_lancedb.register_retrievers()))
    similarities = []
    async with open_component(next(iter(openkimi_use.register_embedders()))) as embedder:
        async with open_component(retrievers, embedder=embedder, path=str(tmp_path)) as store:
            for version in (text, edited):
                document = Document.of(version)
                await store.add(document, chunks_of(version), fingerprint="parts")
                await ready(store, document)
                query = Query(text="Who examines the sheep?", document_ids=(document.id,))
                similarities.append((await store.search(query))[0].similarity)

    assert similarities[0] == similarities[1]
