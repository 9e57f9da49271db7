"""Whether a question and what was read are in one language, as far as words tell."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi_mpr.words import FUNCTION_WORDS, is_unspaced, tokens_of

_SPOKEN, _WRITTEN = 0.2, 0.12
"""Shares of function words in questions and in passages of a language that are known here."""
_KNOWN = 1 / 3


def share_language(question: str, passages: Sequence[str]) -> bool:
    """Tell whether passages are in the language of a question.

    By script, then by function words where the question has those that are known here; in other languages a
    good part of its words has to stand in the passages.
    """
    asked, read = tokens_of(question), [token for passage in passages for token in tokens_of(passage)]
    if not asked or not read:
        return False
    unspaced = is_unspaced(asked)
    if unspaced or is_unspaced(read):
        return unspaced and is_unspaced(read)
    if _functional(asked) >= _SPOKEN:
        return _functional(read) >= _WRITTEN
    return len(set(asked) & set(read)) >= _KNOWN * len(set(asked))


def _functional(tokens: Sequence[str]) -> float:
    return sum(token in FUNCTION_WORDS for token in tokens) / len(tokens)
