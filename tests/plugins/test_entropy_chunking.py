"""How documents are cut into chunks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openkimi import Chunk, ConfigError, Document
from openkimi.testing import open_component
from openkimi_entropy import register_processors
from openkimi_entropy.chunking import cut
from openkimi_entropy.lines import Stopped
from openkimi_entropy.measure import Measure
from openkimi_entropy.options import EntropyOptions
from openkimi_entropy.sentences import sentence_ends

(PROVIDER,) = register_processors()
SPEECH = Path(__file__).parents[1] / "data" / "truman-1946.txt"


def never() -> None:
    """Let the work go on."""


async def process(text: str, **options: Any) -> Sequence[Chunk]:
    async with open_component(PROVIDER, **options) as processor:
        return await processor.process(Document.of(text))


def sentences(text: str) -> list[str]:
    ends = [0, *sentence_ends(text, 0, len(text), never), len(text)]
    return [text[start:end].strip() for start, end in pairwise(ends)]


def tokens(text: str) -> float:
    return Measure(0, 4.8).weigh(text) / 4


PIECES = st.sampled_from(
    [
        *(
            "The council met on 3.5 occasions. ",
            "Dr. Smith of the U.S. agreed! ",
            "word ",
            "a",
            "supercalifragilistic" * 9,
        ),
        *("委员会开会了。", "“好！”他说。", "汉字" * 60, "，", "第三回　归来\n", "\u3000"),
        *("👩‍👩‍👧‍👦", "🇩🇪", "e\u0301", "👍🏽", "\u200b", "\x00", "\x1c", "\ufeff", "\xa0"),
        *("\n", "\n\n", "\r\n", "\f", "\u2028", "   ", "\t"),
        *(
            "# Title\n\n",
            "12.1. RAID and LVM\n\n",
            "Title\n====\n",
            "ALL CAPITALS\n\n",
            "```\n",
            "1. one\n2. two\n",
        ),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=120).map("".join), st.text(max_size=600))


@given(TEXTS, st.sampled_from([(64, 4.8, 0), (100, 3, 0), (64, 4.8, 8), (800, 3, 0)]))
@settings(max_examples=300, deadline=None)
def test_passages_are_exact(text: str, sizes: tuple[float, float, float]) -> None:
    """Passages come in order, hold all but white space, keep the bound, and are the same each time."""
    measure = Measure(*sizes)

    passages = list(cut(text, measure, never))

    assert passages == list(cut(text, measure, never))
    covered = 0
    for passage in passages:
        shown = text[passage.start : passage.end]
        assert shown == shown.strip() != ""
        assert measure.weigh(shown) <= measure.bound
        assert passage.end > covered
        assert passage.start >= covered or measure.overlap
        assert text[covered : passage.start].strip() == ""
        covered = passage.end
    assert text[covered:].strip() == ""


@given(TEXTS, st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_overlap_is_bounded(text: str, overlap: int) -> None:
    """A passage repeats no more tokens of the one before it than asked for, and only within a section."""
    measure = Measure(128, 4.8, overlap)

    passages = list(cut(text, measure, never))

    for above, below in pairwise(passages):
        assert tokens(text[below.start : above.end]) <= overlap
        assert not (below.opens and below.start < above.end)


async def test_overlap_repeats_whole_words() -> None:
    """With an overlap a chunk starts with the last words of the one before it."""
    text = " ".join(f"word{number}" for number in range(400))

    chunks = await process(text, batch_size=64, overlap_size=10)

    assert all(below.start < above.end for above, below in pairwise(chunks))
    assert all(chunk.text.startswith("word") for chunk in chunks)


async def test_default_sizes() -> None:
    """Chunks have about 600 characters of English, 200 of Chinese."""
    english = await process(SPEECH.read_text())
    chinese = await process(
        "".join(f"第{number}位委员谈到了今年的预算，并且提出了新的建议。" for number in range(900))
    )

    assert 500 <= sum(len(chunk.text) for chunk in english) / len(english) <= 700
    assert 150 <= sum(len(chunk.text) for chunk in chinese) / len(chinese) <= 267
    assert all(chunk.text.endswith("。") for chunk in chinese)


async def test_batch_size_bounds_tokens() -> None:
    """``batch_size`` is the most tokens that a chunk may have."""
    text = "委员会 met on Monday, 讨论了预算。 " * 300

    chunks = await process(text, batch_size=40)

    assert all(20 < tokens(chunk.text) <= 40 for chunk in chunks[:-1])


async def test_too_large_an_overlap_is_refused() -> None:
    """An overlap of more than half a chunk is an error of the config that says how large it may be."""
    with pytest.raises(ConfigError, match="overlap_size: expected at most 50"):
        await process("text", batch_size=100, overlap_size=51)


def test_english_sentences() -> None:
    """Abbreviations, initials, decimals and file names end no sentence; quotes and brackets belong to it."""
    text = (
        'Mr. J. Smith of the U.S. Senate paid 3.5 dollars, e.g. in St. Louis. "Really?" she asked. '
        "See sources.list (p. 4). No! Yes… Then etc. and so on."
    )

    assert sentences(text) == [
        "Mr. J. Smith of the U.S. Senate paid 3.5 dollars, e.g. in St. Louis.",
        '"Really?"',
        "she asked.",
        "See sources.list (p. 4).",
        "No!",
        "Yes…",
        "Then etc. and so on.",
    ]


def test_chinese_sentences() -> None:
    """Chinese sentences end at their own marks, closing quotes included, without any space."""
    text = "“你好！”他说。版本是3.5；请看附录。他问：“为什么？”……然后走了。Use Debian.然后重启"

    assert sentences(text) == [
        "“你好！”",
        "他说。",
        "版本是3.5；",
        "请看附录。",
        "他问：“为什么？”",
        "……",
        "然后走了。",
        "Use Debian.",
        "然后重启",
    ]


async def test_sentences_stay_whole() -> None:
    """A sentence that fits a chunk is never cut."""
    text = " ".join(
        f"Sentence {number} says {'very ' * (number % 17)}little about it." for number in range(500)
    )

    chunks = await process(text)

    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("it.") for chunk in chunks)


async def test_a_long_sentence_is_cut_at_a_clause() -> None:
    """A sentence larger than a chunk is cut after a comma, else at a space."""
    clauses = await process("this is one more clause of it, " * 100)
    words = await process("word " * 1_000)

    assert all(chunk.text.endswith(",") for chunk in clauses)
    assert all(set(chunk.text.split()) == {"word"} for chunk in words)


async def test_emoji_sequences_stay_whole() -> None:
    """A family, a skin tone or an accent is never cut off from what it belongs to."""
    for cluster in ("👩‍👩‍👧‍👦", "👍🏽", "e\u0301"):
        chunks = await process(cluster * 2_000)

        assert len(chunks) > 1
        assert all(len(chunk.text) % len(cluster) == 0 for chunk in chunks)


async def test_headings_open_chunks() -> None:
    """A heading starts a chunk and is part of its text; its path is on every chunk below it."""
    prose = "The array is made of two disks that hold the same data. " * 20
    chunks = await process(f"Preface.\n\n12.1. RAID\n\n{prose}\n\n12.1.2. LVM\n\n{prose}")

    assert chunks[0].text == "Preface."
    assert [c.text.split("\n")[0] for c in chunks if c.text.startswith("12.")] == [
        "12.1. RAID",
        "12.1.2. LVM",
    ]
    assert {c.headings for c in chunks[1:]} == {("12.1. RAID",), ("12.1. RAID", "12.1.2. LVM")}
    assert chunks[1].end - chunks[1].start > 200


async def test_short_paragraphs_are_merged() -> None:
    """Short paragraphs share a chunk up to its size."""
    chunks = await process("\n\n".join(f"Paragraph {number} is short." for number in range(200)))

    assert len(chunks) < 15


async def test_an_edit_of_even_lines_changes_few_chunks() -> None:
    """Where all lines are alike in length, cuts still find back to their places after an edit."""
    lines = [f"Sentence number {number:05} of the list is here." for number in range(3_000)]
    added = [f"Another sentence of length {number:04} stands now." for number in range(5)]

    before = await process("\n".join(lines))
    after = await process("\n".join([*lines[:1_500], *added, *lines[1_500:]]))

    assert len({c.key for c in after} - {c.key for c in before}) <= 30
    assert len(before) > 150


async def test_an_edit_changes_few_chunks() -> None:
    """A paragraph put into the middle of a speech leaves all but a few chunk keys as they were."""
    text = SPEECH.read_text()
    middle = text.index("\n\n", len(text) // 2)
    edited = text[:middle] + "\n\nThis paragraph was added later. It speaks of radio." + text[middle:]

    before, after = await process(text), await process(edited)

    assert len({c.key for c in after} - {c.key for c in before}) <= 6
    assert len(before) > 200


@given(
    st.integers(0, 170_000),
    st.sampled_from(["x", "Added. ", "\n\nA new paragraph of its own.\n\n", "新的句子。"]),
)
@settings(max_examples=15, deadline=None)
def test_edits_anywhere_stay_local(at: int, added: str) -> None:
    """Wherever a few words are added, nearly all chunks stay the same."""
    text = SPEECH.read_text()
    measure = EntropyOptions().measure
    edited = text[:at] + added + text[at:]

    before = {(text[p.start : p.end], p.headings) for p in cut(text, measure, never)}
    after = {(edited[p.start : p.end], p.headings) for p in cut(edited, measure, never)}

    assert len(after - before) <= 25


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        "汉" * 100_000,
        "a b " * 80_000,
        ". " * 50_000,
        "x" + " " * 500_000 + "y",
        "1.1 Aa\n\n" * 5_000,
    ],
    ids=["a", "han", "words", "stops", "gap", "headings"],
)
async def test_odd_texts(text: str) -> None:
    """A text without lines, sentences or sense is cut all the same."""
    chunks = await process(text)

    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())


def test_work_that_is_called_off_stops() -> None:
    """Cutting stops at the first check after it was called off."""
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 100:
            raise Stopped

    with pytest.raises(Stopped):
        list(cut(SPEECH.read_text(), EntropyOptions().measure, check))
    assert checks == 100


async def test_a_cancelled_call_ends_its_thread() -> None:
    """A cancelled call leaves no thread at work on a document that would take minutes."""
    loop = asyncio.get_running_loop()
    async with open_component(PROVIDER) as processor:
        call = asyncio.create_task(processor.process(Document.of("Some words. " * 5_000_000)))
        while not _busy_threads():
            await asyncio.sleep(0.01)
        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(loop.shutdown_default_executor(), timeout=20)


def _busy_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]


async def test_the_loop_stays_free() -> None:
    """Other tasks run many times while a large document is processed."""
    turns = 0
    async with open_component(PROVIDER) as processor:
        call = asyncio.create_task(processor.process(Document.of("Some words. And more; 还有。" * 60_000)))
        while not call.done():
            await asyncio.sleep(0)
            turns += 1
        await call

    assert turns > 20


async def test_version_names_cutting_and_scoring() -> None:
    """The version changes with whatever changes chunks or densities, keys with what changes cutting alone."""
    text = SPEECH.read_text()[:20_000]
    versions, keys = set(), []
    for options in ({}, {"entropy_method": "word"}, {"entropy_threshold": 0.5}, {"batch_size": 100}):
        async with open_component(PROVIDER, **options) as processor:
            versions.add(processor.version)
            keys.append([chunk.key for chunk in await processor.process(Document.of(text))])

    assert len(versions) == 4
    assert keys[0] == keys[1] == keys[2]
    assert not set(keys[0]) & set(keys[3])
