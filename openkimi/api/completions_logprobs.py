"""Log-probabilities in the form that completions have."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from openkimi.api.completions_schemas import CompletionLogprobs
from openkimi.messages import TokenLogprob, TopLogprob


class TokenList:
    """Lists the tokens of one choice, piece by piece; its answer begins at the character ``offset``.

    ``alternatives`` is how many likely tokens are listed beside the chosen one, 0 for no such list.
    """

    def __init__(self, *, offset: int, alternatives: int) -> None:
        self._offset = offset
        self._alternatives = alternatives
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, tokens: Sequence[TokenLogprob]) -> CompletionLogprobs | None:
        """List the next tokens, None where there are none."""
        if not tokens:
            return None
        return CompletionLogprobs(
            tokens=[_text(token) for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[_top(token) for token in tokens] if self._alternatives else None,
            text_offset=[self._advance(token) for token in tokens],
        )

    def _advance(self, token: TopLogprob) -> int:
        """Return where a token begins; one inside of a character begins with it."""
        begin = self._offset
        self._offset += len(self._decoder.decode(_bytes(token)))
        return begin


def _top(token: TokenLogprob) -> dict[str, float]:
    top = {_text(other): other.logprob for other in reversed(token.top_logprobs)}
    return dict(reversed(top.items())) | {_text(token): token.logprob}


def _bytes(token: TopLogprob) -> bytes:
    return token.token.encode("utf-8", "replace") if token.bytes is None else bytes(token.bytes)


def _text(token: TopLogprob) -> str:
    """Write a token; one that is a part of a character is written as its bytes."""
    try:
        return _bytes(token).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in _bytes(token))
