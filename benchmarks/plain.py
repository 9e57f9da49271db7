"""Plain ways to fill a prompt, as a few lines of one's own would: what OpenKimi is compared with.

All of them cut at sentence ends into chunks of up to 600 characters (a Chinese one counts as three), rank the
chunks, and take them in that order as long as they fit; those taken stand in the order of the text.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from openkimi_openai.estimate import Estimate
from openkimi_openai.options import CharactersPerToken

Scores = NDArray[np.float64]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]

CHARACTERS = 600
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uff01-\uff65]")
_SENTENCE = re.compile(r".+?(?:[.!?][\"')\]”’]*\s+|[。！？；][”’」』）]*\s*|\n+|$)", re.DOTALL)
_WORD = re.compile("[a-z0-9]+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")
_GAP = "\n…\n"
_K1, _B = 1.2, 0.75
_FUSED, _RRF_K = 100, 60

_estimate = Estimate(CharactersPerToken()).text


def chunks_of(text: str, characters: int = CHARACTERS) -> list[str]:
    """Cut a text at the ends of sentences; put together again the chunks are the text."""
    chunks, chunk, width = list[str](), "", 0
    for sentence in _sentences(text, characters):
        more = _width(sentence)
        if chunk and width + more > characters:
            chunks.append(chunk)
            chunk, width = "", 0
        chunk, width = chunk + sentence, width + more
    return [*chunks, chunk] if chunk else chunks


def _sentences(text: str, characters: int) -> Iterable[str]:
    for found in _SENTENCE.finditer(text):
        sentence = found.group()
        longest = characters // 3 if _WIDE.search(sentence) else characters
        yield from (sentence[at : at + longest] for at in range(0, len(sentence), longest))


def _width(text: str) -> int:
    return len(text) + 2 * len(_WIDE.findall(text))


def words(text: str) -> list[str]:
    """Split on white space and nothing else."""
    return text.lower().split()


def words_and_pairs(text: str) -> list[str]:
    """Find the words; of CJK text the characters and the pairs of neighbours."""
    terms = list[str]()
    for word in _WORD.findall(text.lower()):
        if _CJK.match(word):
            terms += (*word, *(word[at : at + 2] for at in range(len(word) - 1)))
        else:
            terms.append(word)
    return terms


class Bm25:
    """Okapi BM25 (Robertson et al., TREC-3, 1994) over the chunks of one text."""

    def __init__(self, chunks: Sequence[str], terms: Callable[[str], list[str]]) -> None:
        self._terms = terms
        counts = [Counter(terms(chunk)) for chunk in chunks]
        lengths = np.array([sum(each.values()) for each in counts], float)
        self._damping = _K1 * (1 - _B + _B * lengths / (lengths.mean() or 1))
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, each in enumerate(counts):
            for term, times in each.items():
                self._postings[term].append((number, times))

    def __call__(self, question: str) -> Scores:
        scores = np.zeros(len(self._damping))
        for term in dict.fromkeys(self._terms(question)):
            if term in self._postings:
                numbers, times = np.array(self._postings[term]).T
                idf = math.log(1 + (len(scores) - len(numbers) + 0.5) / (len(numbers) + 0.5))
                scores[numbers] += idf * times * (_K1 + 1) / (times + self._damping[numbers])
        return scores


class Dense:
    """The cosine between the vectors of a question and of each chunk."""

    def __init__(self, chunks: Sequence[str], embed: Embed) -> None:
        self._embed = embed
        self._vectors = embed(chunks)

    def __call__(self, question: str) -> Scores:
        scores: Scores = np.asarray(self._vectors @ self._embed([question])[0], np.float64)
        return scores


def fuse(*rankings: Sequence[int]) -> list[int]:
    """Fuse the first hundred of each ranking by reciprocal ranks with k = 60 (Cormack et al., 2009)."""
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, number in enumerate(ranking[:_FUSED], start=1):
            scores[number] += 1 / (_RRF_K + rank)
    return sorted(scores, key=lambda number: (-scores[number], number))


def ranked(scores: Scores) -> list[int]:
    """Order by score, best first, the earlier first of equal ones."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order


class Plain:
    """The plain ways for one text."""

    def __init__(self, text: str, embed: Embed) -> None:
        self._chunks = chunks_of(text)
        self._sizes = [_estimate(chunk + _GAP) for chunk in self._chunks]
        self._words = Bm25(self._chunks, words)
        self._pairs = Bm25(self._chunks, words_and_pairs)
        self._dense = Dense(self._chunks, embed)

    def rankings(self, question: str) -> Mapping[str, Sequence[int]]:
        """Rank the chunks for a question in every way."""
        pairs, dense = ranked(self._pairs(question)), ranked(self._dense(question))
        return {
            "head of the text": range(len(self._chunks)),
            "BM25, words between spaces": ranked(self._words(question)),
            "BM25, words and CJK pairs": pairs,
            "dense (USE)": dense,
            "RRF of the two above": fuse(pairs, dense),
        }

    def prompt(self, ranking: Iterable[int], budget: int) -> str:
        """Take chunks in the order of a ranking as long as they fit."""
        chosen, room = list[int](), budget
        for number in ranking:
            if self._sizes[number] <= room:
                chosen.append(number)
                room -= self._sizes[number]
        chosen.sort()
        pieces, before = list[str](), -1
        for number in chosen:
            pieces.append(("" if number == before + 1 else _GAP) + self._chunks[number])
            before = number
        return "".join(pieces)
