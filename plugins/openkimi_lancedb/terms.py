"""Makes the terms of lexical search: stemmed words; characters and their pairs where there are no spaces.

The same rules serve the text and the question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from openkimi_lancedb.stemming import stem
from openkimi_lancedb.stopwords import CHINESE_PHRASES, STOP_TERMS

TERMS = "terms-1"
"""Changes whenever the same text would get other terms; stored documents are then indexed anew."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han and Hangul."""

_WORD = rf"[^\W{_UNSPACED}]"
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[-/~.]{{0,3}}{_WORD}+(?:[-./:@+&'’,]{{1,3}}{_WORD}+)*(?:\+\+|#)?")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_PART = re.compile(r"[^\W_]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PHRASES = re.compile("|".join(sorted(CHINESE_PHRASES, key=len, reverse=True)))
_LONGEST_TERM = 64
_MOST_QUERY_TERMS = 256
_HEADING_WEIGHT = 2

Terms = tuple[str, ...]


class Vocabulary:
    """Remembers the terms of each word it has seen, which makes long texts several times faster."""

    def __init__(self) -> None:
        self._known: dict[str, Terms] = {}

    def document_terms(self, headings: Sequence[str], text: str) -> list[str]:
        """Make the searchable terms of a chunk, repeats included; its heading path counts twice."""
        terms = list(self.terms(text))
        if headings:
            terms.extend(list(self.terms("\n".join(headings))) * _HEADING_WEIGHT)
        return terms

    def terms(self, text: str) -> Iterator[str]:
        """Make the terms of a text, in order."""
        for token in _tokens(text):
            terms = self._known.get(token)
            if terms is None:
                terms = _token_terms(token)
                if not _IS_UNSPACED.match(token):
                    self._known[token] = terms
            yield from terms


def query_terms(text: str) -> list[str]:
    """Make the terms to search for: each once, without stop words unless there is nothing else."""
    wanted = _unique(_terms_without_stop_words(text)) or _unique(_all_terms(text))
    return wanted[:_MOST_QUERY_TERMS]


def _terms_without_stop_words(text: str) -> Iterator[str]:
    for token in _tokens(_PHRASES.sub("\n", unicodedata.normalize("NFKC", text))):
        if token.lower() not in STOP_TERMS:
            yield from (term for term in _token_terms(token) if term not in STOP_TERMS)


def _all_terms(text: str) -> Iterator[str]:
    for token in _tokens(text):
        yield from _token_terms(token)


def _tokens(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text)
    return _TOKEN.findall(_THOUSANDS.sub("", text))


def _token_terms(token: str) -> Terms:
    if _IS_UNSPACED.match(token):
        return (*token, *(token[at : at + 2] for at in range(len(token) - 1)))
    return tuple(term[:_LONGEST_TERM] for term in _word_terms(token.lower()))


def _word_terms(token: str) -> Iterator[str]:
    """Give a word's stem; of a compound, such as ``--assume-clean``, the parts and the whole."""
    token = _fold(token).replace("’", "'")
    core = token.lstrip("-/~.")
    plain = core.removesuffix("'s").replace("'", "")
    parts = _PART.findall(plain)
    yield from map(stem, parts)
    if parts != [plain]:
        yield plain
    if core != token and not token.startswith(".."):
        yield token


def _fold(word: str) -> str:
    """Take the accents off Latin, Greek and Cyrillic letters."""
    if word.isascii() or word[0] > "\u052f":
        return word
    bare = (letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    return unicodedata.normalize("NFKC", "".join(bare))


def _unique(terms: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(terms))
