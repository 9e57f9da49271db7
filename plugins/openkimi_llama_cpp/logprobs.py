"""Log-probabilities of an answer's tokens, in step with the text that is shown."""

from __future__ import annotations

from collections import deque

import numpy as np

from openkimi import TokenLogprob, TopLogprob
from openkimi_llama_cpp.vocabulary import Logits, Vocabulary

# What OpenAI writes for a token that is as good as impossible; JSON has no infinity.
IMPOSSIBLE = -9999.0


class TokenScores:
    """Scores tokens by the model's own logits, before bias, penalties, grammar and temperature."""

    def __init__(self, vocabulary: Vocabulary, alternatives: int) -> None:
        self._vocabulary = vocabulary
        self._alternatives = min(alternatives, vocabulary.size)

    def score(self, token: int, logits: Logits) -> TokenLogprob:
        """Give a token's log-probability, with the likeliest tokens in its place."""
        highest = float(logits.max())
        norm = highest + float(np.log(np.exp(logits - highest, dtype=np.float64).sum()))
        # A control token that was chosen says nothing; as an alternative it is named.
        data = self._vocabulary.piece(token)
        return TokenLogprob(
            token=data.decode("utf-8", "replace"),
            logprob=_finite(float(logits[token]) - norm),
            bytes=list(data),
            top_logprobs=tuple(self._alternative(other, logits, norm) for other in self._best(logits)),
        )

    def _alternative(self, token: int, logits: Logits, norm: float) -> TopLogprob:
        data = self._vocabulary.piece(token, special=True)
        return TopLogprob(
            token=data.decode("utf-8", "replace"),
            logprob=_finite(float(logits[token]) - norm),
            bytes=list(data),
        )

    def _best(self, logits: Logits) -> list[int]:
        if not self._alternatives:
            return []
        best = np.argpartition(logits, -self._alternatives)[-self._alternatives :]
        return [int(token) for token in best[np.argsort(-logits[best], kind="stable")]]


class ShownTokens:
    """Holds tokens back until all of the text that they belong to is shown.

    The bytes of a character come with the last one of them.
    """

    def __init__(self) -> None:
        self._held: deque[tuple[int, TokenLogprob]] = deque()
        self._written = 0
        self._shown = 0

    def add(self, token: TokenLogprob, text: str, *, unfinished: bool) -> None:
        """Take a token and the text that it completes; ``unfinished`` when it ends inside of a character."""
        self._written += len(text)
        self._held.append((self._written + unfinished, token))

    def take(self, shown: str) -> tuple[TokenLogprob, ...]:
        """Return the tokens that more text being shown makes whole."""
        self._shown += len(shown)
        whole: list[TokenLogprob] = []
        while self._held and self._held[0][0] <= self._shown:
            whole.append(self._held.popleft()[1])
        return tuple(whole)


def _finite(logprob: float) -> float:
    return max(logprob, IMPOSSIBLE)
