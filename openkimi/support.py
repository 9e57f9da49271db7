"""Finds which sentences of some passages say what an answer says: pure, by words, in any language.

A sentence supports a claim when it has the claim's words, and above all those that the question did not
give away. Numbers and names weigh more; function words nothing; words that many of the sentences have weigh
little (inverse document frequency). Scripts without spaces are compared by pairs of characters.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import msgspec

from openkimi.spans import Span, claims_of, sentences_of

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{_UNSPACED}]")
_TOKEN = re.compile(
    rf"(?P<run>[{_UNSPACED}]+)|(?P<number>\d+(?:[.,:/]\d+)*)(?![^\W_{_UNSPACED}])"
    rf"|(?P<word>[^\W_{_UNSPACED}][^\W_{_UNSPACED}\u0300-\u036f]*(?:['’][^\W_{_UNSPACED}]+)*)"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_MONTH = re.compile(
    rf"\b(?:{'|'.join(name for name in _MONTHS if name not in {'March', 'May'})}|(?:March|May)(?=\s+\d)|"
    rf"(?<=\d\s)(?:March|May))\b"
)
_THOUGHTS_END = "</think>"
_IN_RUNS = re.compile(
    "[的了是在和与及而也就都被把为有这那其之者乎矣焉于以並并对从向由所等着過过吗呢吧么们們]"
)
_WORDS = """
a about above according after all also although am an and any are as at be because been before being below
between both but by can cannot could did do does doing don't during each either few for from further had
has have having he her here hers him his how however i if in into is it its itself just many may me might
more most much must my neither no nor not of off on once one only or other our out over own same she
should since so some such than that the their them then there therefore these they this those through thus
to too under until up upon us very was we were what when where which while who whom whose why will with
within without would yes you your answer answers context document documents excerpt excerpts information
mention mentioned mentions passage passages provided question says states text
"""
_FUNCTION_WORDS = frozenset(_WORDS.split())
_SUFFIXES = ("ing", "ed", "es", "s")

_NUMBER, _NAME, _WORD, _PAIR = 2.0, 1.5, 1.0, 0.6
_LEAST_RARITY = 0.3
_COVERED = 0.5
_NEWS_COVERED = 0.6
_NAMES_COVERED = 0.95
_RESTATED = 0.75
_FIRST, _FURTHER = 0.3, 0.2
_MOST_SENTENCES = 4
_QUESTION_SHARE, _NEIGHBOUR_SHARE = 0.3, 0.5
_FEW_WORDS, _NEAR_ENOUGH = 4.0, 0.2
_LONG_NUMBER = 3
_MOST_CLAIMS = 200


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence that supports a claim; ``score`` in (0, 1] is how much of the claim's weight it has."""

    passage: int
    span: Span
    score: float


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of an answer that says something, with what supports it, the strongest first."""

    span: Span
    evidence: tuple[Evidence, ...] = ()


def find_support(answer: str, passages: Sequence[str], *, question: str = "") -> list[Claim]:
    """Find support for each of the first 200 claims of an answer; one without it has no evidence.

    What a model thinks aloud before it answers, up to ``</think>``, claims nothing.
    """
    sentences = _Sentences(passages, _terms(question))
    begin = answer.rfind(_THOUGHTS_END) + len(_THOUGHTS_END) if _THOUGHTS_END in answer else 0
    spans = [Span(start + begin, end + begin) for start, end in claims_of(answer[begin:])[:_MOST_CLAIMS]]
    claims = ((span, _terms(answer[span.start : span.end])) for span in spans)
    return [Claim(span=span, evidence=sentences.support(terms)) for span, terms in claims if terms]


class _Sentence(msgspec.Struct, frozen=True):
    passage: int
    span: Span
    terms: frozenset[str]


class _Sentences:
    """The sentences of some passages, by their terms."""

    def __init__(self, passages: Sequence[str], question: Mapping[str, float]) -> None:
        self._question = question
        self._all = [
            _Sentence(number, span, _searchable(text[span.start : span.end]))
            for number, text in enumerate(passages)
            for span in sentences_of(text)
        ]
        self._having: dict[str, list[int]] = {}
        for at, sentence in enumerate(self._all):
            for term in sentence.terms:
                self._having.setdefault(term, []).append(at)

    def support(self, claim: Mapping[str, float]) -> tuple[Evidence, ...]:
        """Return the fewest sentences that have what a claim says, none where they do not have it."""
        weights = {term: weight * self._rarity(term) for term, weight in claim.items()}
        news = {term: weight for term, weight in weights.items() if term not in self._question}
        chosen = self._chosen(news or weights)
        if not self._is_enough(chosen, claim, weights, news):
            chosen = self._translated(claim, news)
        return tuple(
            Evidence(
                passage=self._all[at].passage,
                span=self._all[at].span,
                score=_share(weights, self._all[at].terms),
            )
            for at in chosen
        )

    def _is_enough(
        self,
        chosen: Sequence[int],
        claim: Mapping[str, float],
        weights: Mapping[str, float],
        news: Mapping[str, float],
    ) -> bool:
        """Tell whether sentences say what a claim says."""
        had = frozenset[str]().union(*(self._all[at].terms for at in chosen))
        if news and not _has_news(had, claim, news):
            return False
        if sum(claim[term] for term in news) < _FEW_WORDS and not self._is_near(chosen):
            return False
        return _share(weights, had | self._given_around(chosen)) >= (_COVERED if news else _RESTATED)

    def _translated(self, claim: Mapping[str, float], news: Mapping[str, float]) -> list[int]:
        """Return the sentence of another script that has all numbers of a claim, and its names in Latin.

        These have to be several, and not all of them small.
        """
        unspaced = _is_unspaced(claim)
        alike = {
            term: weight
            for term, weight in news.items()
            if claim[term] == _NUMBER or (unspaced and not _RUN.match(term))
        }
        if sum(claim[term] for term in alike) < _FEW_WORDS or max(map(len, alike)) < _LONG_NUMBER:
            return []
        best = self._best(alike)
        if best is None or not self._all[best].terms >= alike.keys():
            return []
        return [best] if _is_unspaced(self._all[best].terms) != unspaced else []

    def _chosen(self, weights: Mapping[str, float]) -> list[int]:
        """Choose the sentence that has most of some terms, then those that add much to it."""
        whole, missing = sum(weights.values()), dict(weights)
        chosen: list[int] = []
        while len(chosen) < _MOST_SENTENCES and (best := self._best(missing)) is not None:
            terms = self._all[best].terms
            if _sum(missing, terms) < whole * (_FURTHER if chosen else _FIRST):
                break
            chosen.append(best)
            missing = {term: weight for term, weight in missing.items() if term not in terms}
        return chosen

    def _best(self, weights: Mapping[str, float]) -> int | None:
        """Return the sentence with most of some terms; among equals the one nearest to the question."""
        gains: dict[int, float] = {}
        for term, weight in weights.items():
            for at in self._having.get(term, ()):
                gains[at] = gains.get(at, 0.0) + weight
        bonus = _QUESTION_SHARE * sum(weights.values())
        return max(gains, key=lambda at: (gains[at] + bonus * self._nearness[at], -at), default=None)

    @cached_property
    def _nearness(self) -> list[float]:
        """Tell for each sentence how much of the question it has; what stands beside it counts half."""
        nearness: list[float] = []
        for at, sentence in enumerate(self._all):
            own = _share(self._question, sentence.terms)
            around = _share(self._question, self._given_around([at]) | sentence.terms)
            nearness.append(own + _NEIGHBOUR_SHARE * (around - own))
        return nearness

    def _is_near(self, chosen: Sequence[int]) -> bool:
        """Tell whether sentences have to do with the question: a word or two stand anywhere by chance.

        Between two scripts nothing tells.
        """
        alike = [at for at in chosen if _is_unspaced(self._all[at].terms) == _is_unspaced(self._question)]
        if not alike or not self._question:
            return True
        return max(self._nearness[at] for at in alike) >= _NEAR_ENOUGH * max(self._nearness)

    def _given_around(self, chosen: Sequence[int]) -> frozenset[str]:
        """Return what the question gave away and stands beside sentences, which may just say "it" for it."""
        beside = (self._all[near].terms for at in chosen for near in self._beside(at))
        return frozenset[str]().union(*beside) & self._question.keys()

    def _beside(self, at: int) -> Iterator[int]:
        for near in (at - 1, at + 1):
            if 0 <= near < len(self._all) and self._all[near].passage == self._all[at].passage:
                yield near

    def _rarity(self, term: str) -> float:
        """Weigh a term by how few sentences have it, from 0.3 to 1."""
        count, having = len(self._all), len(self._having.get(term, ()))
        most = math.log(2 * count + 2)
        rarity = math.log(1 + (count - having + 0.5) / (having + 0.5)) / most
        return _LEAST_RARITY + (1 - _LEAST_RARITY) * rarity


def _has_news(had: frozenset[str], claim: Mapping[str, float], news: Mapping[str, float]) -> bool:
    """Tell whether terms include what a claim adds to its question: numbers, most names, much of the rest."""
    names = {term: weight for term, weight in news.items() if claim[term] == _NAME}
    return (
        all(term in had for term in news if claim[term] == _NUMBER)
        and _share(names, had) >= _NAMES_COVERED
        and _share(news, had) >= _NEWS_COVERED
    )


def _is_unspaced(terms: Collection[str]) -> bool:
    """Tell whether most terms are of a script without spaces."""
    return 2 * sum(bool(_RUN.match(term)) for term in terms) > len(terms)


def _share(weights: Mapping[str, float], terms: Collection[str]) -> float:
    """Tell how much of some weight lies on certain terms, from 0 to 1; all of it where there is none."""
    whole = sum(weights.values())
    return _sum(weights, terms) / whole if whole else 1.0


def _sum(weights: Mapping[str, float], terms: Collection[str]) -> float:
    return sum(weight for term, weight in weights.items() if term in terms)


def _terms(text: str) -> dict[str, float]:
    """Return the terms of a text, each with its weight: numbers, words without their endings, pairs."""
    terms: dict[str, float] = {}
    text = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text))
    text = _MONTH.sub(lambda month: str(_MONTHS.index(month[0]) + 1), text)
    for match in _TOKEN.finditer(text):
        token = match[0]
        if match.lastgroup == "run":
            terms.update(dict.fromkeys(_pairs(token), _PAIR))
        elif match.lastgroup == "number":
            terms[token] = _NUMBER
        elif token.lower().replace("’", "'") not in _FUNCTION_WORDS:
            terms[_stem(token)] = (
                _NAME if (token[0].isupper() and match.start()) or not token.isalpha() else _WORD
            )
    return terms


def _searchable(text: str) -> frozenset[str]:
    """Return all terms that a text can be found by: single characters too."""
    return frozenset((*_terms(text), *_RUN.findall(text)))


def _pairs(run: str) -> Iterable[str]:
    for part in _IN_RUNS.split(run):
        if len(part) > 1:
            yield from (part[at : at + 2] for at in range(len(part) - 1))
        elif part:
            yield part


def _stem(word: str) -> str:
    word = word.casefold().replace("’", "'").removesuffix("'s")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            word = word.removesuffix(suffix)
            break
    return word.removesuffix("e") if len(word) > 4 else word
