"""Stop sequences over a stream of text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from openkimi.messages import TokenLogprob


class StopFilter:
    """Passes text on until a stop sequence appears, which itself is never shown, not even in part.

    Text that may turn out to be the start of a stop sequence is held back until it is known not to be.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(sequence for sequence in stop if sequence)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Take more text and return what may be shown; nothing more once :attr:`stopped` is set."""
        if self.stopped:
            return ""
        text = self._held + text
        found = [at for at in (text.find(sequence) for sequence in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = self._pending(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back, at the end of the stream."""
        text, self._held = self._held, ""
        return text

    def _pending(self, text: str) -> int:
        """Count the last characters that could begin a stop sequence."""
        longest = max((len(sequence) for sequence in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            tail = text[-size:]
            if any(sequence.startswith(tail) for sequence in self._stop):
                return size
        return 0


class TokenFilter:
    """Passes log-probabilities on when all the text of their token has been shown."""

    def __init__(self) -> None:
        self._held: deque[TokenLogprob] = deque()
        self._shown = 0

    def feed(self, tokens: Iterable[TokenLogprob], shown: str) -> tuple[TokenLogprob, ...]:
        """Take more tokens and the text that is shown by now; return the tokens that it makes whole."""
        self._held.extend(tokens)
        self._shown += len(shown)
        whole: list[TokenLogprob] = []
        while self._held and len(self._held[0].token) <= self._shown:
            whole.append(self._held.popleft())
            self._shown -= len(whole[-1].token)
        return tuple(whole)
