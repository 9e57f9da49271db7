"""The information density of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal, get_args

import numpy as np
import pytest

from openkimi import Chunk, Document, Embedder, PluginError, Vectors
from openkimi.testing import open_component
from openkimi_entropy import register_processors
from openkimi_entropy.density import Method

(PROVIDER,) = register_processors()
SPEECH = Path(__file__).parents[1] / "data" / "truman-1946.txt"
METHODS = get_args(Method)


class BagEmbedder(Embedder):
    """Embeds a text as the counts of its characters."""

    def __init__(self) -> None:
        self.calls = 0

    @property
    def dimensions(self) -> int:
        return 64

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        self.calls += 1
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for sign in text:
                vectors[row, ord(sign) % 64] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


async def process(text: str, **options: Any) -> Sequence[Chunk]:
    async with open_component(PROVIDER, embedder=BagEmbedder(), **options) as processor:
        return await processor.process(Document.of(text))


NOTICE = "Use of this page is subject to the terms below, which apply to all who read it and keep it. "
CHINESE = [
    "一九四六年，国会审议了总额为三百五十亿的预算，其中国防支出大幅下降。",
    "磁盘阵列由两块硬盘组成，任何一块损坏时，系统仍能继续运行并发出警报。",
    "博物馆每天上午九点开门，星期一闭馆，学生凭证件可以免费参观新的展览。",
    "农民们种植小麦和玉米，秋天收获之后，粮食由铁路运往沿海各大城市出售。",
    "医生建议病人多喝水，按时服药，并在两个星期以后回到医院进行一次复查。",
]


def mixed_text() -> str:
    """Make a text of a speech with the same notice after every page, and Chinese paragraphs at the end."""
    speech = SPEECH.read_text()[:60_000].split("\n\n")
    pages = ["\n\n".join(speech[at : at + 8]) for at in range(0, len(speech), 8)]
    notice = "\n\nNOTICE TO READERS\n\n" + NOTICE * 4 + "\n\nTHE SPEECH\n\n"
    return notice.join(pages) + notice + "".join(CHINESE)


@pytest.mark.parametrize("method", METHODS)
async def test_densities_are_in_range(method: Method) -> None:
    """Every method scores every chunk in [0, 1], not all alike, and the same each time."""
    chunks = await process(mixed_text(), entropy_method=method)

    assert all(0 <= chunk.density <= 1 for chunk in chunks)
    assert len({chunk.density for chunk in chunks}) > len(chunks) / 4
    assert chunks == await process(mixed_text(), entropy_method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", ["x", "好", "?", "\u200b", "A.\n\nB.", "🐶" * 3_000])
async def test_tiny_and_odd_texts(method: Method, text: str) -> None:
    """One word, one sign or nothing but emoji is scored as well."""
    chunks = await process(text, entropy_method=method)

    assert chunks
    assert all(0 <= chunk.density <= 1 for chunk in chunks)


@pytest.mark.parametrize("method", ["compression", "word", "ngram", "weighted"])
async def test_boilerplate_is_thin(method: Method) -> None:
    """A notice on every page has less density than the text between."""
    chunks = await process(mixed_text(), entropy_method=method)
    notices = [chunk.density for chunk in chunks if "terms below" in chunk.text][1:]
    others = [chunk.density for chunk in chunks if "terms below" not in chunk.text]

    assert len(notices) > 3
    assert max(notices) < median(others)


async def test_repeats_are_near_zero() -> None:
    """By compression, what was said word by word before adds nearly nothing, usual prose about a half."""
    text = SPEECH.read_text()[:12_000]

    chunks = await process(text + "\n\n" + text)

    half = len(chunks) // 2
    assert 0.4 < mean(chunk.density for chunk in chunks[:half]) < 0.6
    assert mean(chunk.density for chunk in chunks[half + 1 :]) < 0.1


@pytest.mark.parametrize("method", ["compression", "word", "ngram", "weighted"])
async def test_chinese_boilerplate_is_thin(method: Method) -> None:
    """Chinese is not split on spaces: a repeated passage is thin, a new one is dense."""
    notice = "本手册仅供内部参考使用，未经书面许可不得复制或者转载，违者必须承担相应的责任。" * 4
    news = [
        "".join(
            CHINESE[(page + line) % 5].replace("，", f"{chr(0x4E00 + 97 * page + 31 * line)}，")
            for line in range(5)
        )
        for page in range(12)
    ]

    chunks = await process(
        "\n\n".join(f"{notice}\n\n{page}" for page in news), entropy_method=method, chunk_characters=400
    )

    pure_notice = [c.density for c in chunks if c.text.count("不得复制") >= 3][2:]
    rest = [c.density for c in chunks if "不得复制" not in c.text]
    assert pure_notice
    assert rest
    assert mean(pure_notice) < mean(rest)


async def test_scripts_compare() -> None:
    """Usual Chinese prose is about as dense by compression as usual English prose in the same document."""
    chunks = await process(SPEECH.read_text()[:40_000] + "\n\n" + "".join(CHINESE) + "\n\n")
    chinese = [chunk.density for chunk in chunks if "磁盘" in chunk.text or "农民" in chunk.text]
    english = [chunk.density for chunk in chunks if chunk.text.isascii()]

    assert 0.6 < mean(chinese) / mean(english) < 1.9


async def test_the_beginning_is_not_denser_for_being_first() -> None:
    """The first chunks, which nothing precedes, score like the rest."""
    chunks = await process(SPEECH.read_text())
    first = mean(chunk.density for chunk in chunks[:10])

    assert first < 1.25 * mean(chunk.density for chunk in chunks)


async def test_structure_counts_numbers_and_names() -> None:
    """Numbers and names are structure, in Chinese as in English; talk is not."""
    text = (
        "# One\n\nIn 1946 the budget fell to 35.9 billion, said Senator Byrd of Virginia to Marshall.\n\n"
        "# Two\n\nWell, it is as it is, and it may be so or it may not, which is how things are.\n\n"
        "# Three\n\n一九四六年，《预算法》把支出从三百五十亿减到了210亿，由General Motors承担其中的30%。\n\n"
        "# Four\n\n事情就是这样的，可能是这样，也可能不是这样，总之大家都觉得应该是这样才对吧。\n"
    )

    facts, talk, facts_zh, talk_zh = await process(text, entropy_method="structural")

    assert facts.density > talk.density + 0.3
    assert facts_zh.density > talk_zh.density + 0.3


async def test_meaning_finds_the_stranger() -> None:
    """By meaning, the passage that is unlike its neighbours is the densest."""
    paragraphs = ["aaaa bbbb aaaa bbbb " * 20 + "end."] * 9
    paragraphs[4] = "qqqq zzzz vvvv xxxx " * 20 + "end."

    chunks = await process("\n\n".join(paragraphs), entropy_method="semantic", chunk_characters=310)

    assert "qqqq" in max(chunks, key=lambda chunk: chunk.density).text


async def test_only_semantic_needs_the_embedder() -> None:
    """The embedder is asked for by the method ``semantic`` alone."""
    async with open_component(PROVIDER, entropy_method="weighted") as processor:
        assert await processor.process(Document.of("text"))
    with pytest.raises(PluginError, match="embedder"):
        async with open_component(PROVIDER, entropy_method="semantic"):
            pass


async def test_threshold_takes_density_not_chunks() -> None:
    """Chunks under the threshold get density 0 and stay; the others keep theirs."""
    text = mixed_text()
    chunks = await process(text)
    threshold = median(chunk.density for chunk in chunks)

    limited = await process(text, entropy_threshold=threshold)

    assert [chunk.key for chunk in limited] == [chunk.key for chunk in chunks]
    assert [c.density for c in limited] == [c.density if c.density >= threshold else 0.0 for c in chunks]
