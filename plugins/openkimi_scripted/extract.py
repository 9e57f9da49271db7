"""Answers a question with a sentence of the prompt."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from openkimi import Message
from openkimi_scripted.tokens import CJK

NOTHING = "No model is configured, and no sentence of the prompt shares a word with the question."
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORD = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
_IS_CJK = re.compile(f"[{CJK}]")


def extract(messages: Sequence[Message]) -> str:
    """Find the sentence that shares the most, and the rarest, content words with the question.

    The question is the last paragraph of the last user message. Words weigh their inverse document
    frequency, with sentences for documents (Spärck Jones, 1972); the shorter sentence wins a draw.
    """
    question, sentences = _split(messages)
    wanted = _terms(question)
    terms = [_terms(sentence) & wanted for sentence in sentences]
    frequency = Counter(term for found in terms for term in found)

    def weight(index: int) -> tuple[float, int]:
        shared = sum(math.log1p(len(sentences) / frequency[term]) for term in sorted(terms[index]))
        return round(shared, 6), -len(sentences[index])

    best = max(range(len(sentences)), key=weight, default=None)
    return sentences[best] if best is not None and terms[best] else NOTHING


def _split(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """Split a conversation into its question and the sentences that might answer it."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    texts = [message.text.strip() for message in messages if message.role != "assistant"]
    if last < 0:
        return "", texts
    rest, _, question = messages[last].text.strip().rpartition("\n\n")
    sources = [m.text for at, m in enumerate(messages) if at != last and m.role != "assistant"] + [rest]
    sentences = [sentence.strip() for text in sources for sentence in _SENTENCE_END.split(text)]
    return question, [sentence for sentence in sentences if sentence and sentence[-1] not in "?？"]


def _terms(text: str) -> set[str]:
    """Collect lower-case words without their plural, and bigrams of CJK runs."""
    found: set[str] = set()
    for word in _WORD.findall(text.lower()):
        if _IS_CJK.match(word):
            found.update(word[at : at + 2] for at in range(max(1, len(word) - 1)))
        else:
            found.add(word.rstrip("s") or word)
    return found
