"""How large a passage is."""

from __future__ import annotations

from typing import NamedTuple

from openkimi_entropy.scripts import count_cjk, is_cjk

CHARACTERS_PER_TOKEN = 4.0
TOKENS_PER_CJK = 1.2


class Measure(NamedTuple):
    """How much a passage may weigh: a character weighs 1, one that fills a square weighs ``cjk``.

    ``overlap`` is how many tokens may repeat the passage before; they count towards ``bound``.
    Tokens are estimated: one for four alphabetic characters, 1.2 for one that fills a square.
    """

    bound: float
    cjk: float
    overlap: float = 0.0

    @property
    def room(self) -> Measure:
        """What is left for text that repeats nothing."""
        return self._replace(bound=self.bound - self.overlap * CHARACTERS_PER_TOKEN)

    def weigh(self, text: str) -> float:
        """Weigh a text."""
        return len(text) + (self.cjk - 1) * count_cjk(text)

    def reach(self, text: str, start: int, end: int, weight: float) -> int:
        """Find the offset up to which ``text[start:end]`` weighs no more than ``weight``."""
        stop = min(end, start + int(weight))
        if text[start:stop].isascii():
            return stop
        for at in range(start, stop):
            weight -= self.cjk if is_cjk(text[at]) else 1
            if weight < 0:
                return at
        return stop

    def back(self, text: str, floor: int, start: int) -> int:
        """Find the offset from which ``text[:start]`` holds the overlap at most."""
        left = self.overlap
        for at in range(start - 1, floor - 1, -1):
            left -= TOKENS_PER_CJK if is_cjk(text[at]) else 1 / CHARACTERS_PER_TOKEN
            if left < 0:
                return at + 1
        return floor
