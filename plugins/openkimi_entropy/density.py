"""The methods that score the information density of passages, each in [0, 1].

None of them looks at a question, and without one no score finds answers much better than chance (keeping the
densest 30 % of the sentences keeps 26 to 42 % of the answers). Density is a prior, a tie-break and a filter
for boilerplate; it never decides what is stored or can be retrieved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from openkimi_entropy.chunking import Passage
from openkimi_entropy.compression import compression_density
from openkimi_entropy.lines import Check
from openkimi_entropy.structure import structural_density
from openkimi_entropy.surprisal import ngram_density, word_density

Method = Literal["compression", "word", "ngram", "semantic", "structural", "weighted"]
Scorer = Callable[[str, Sequence[Passage], Check], list[float]]

SCORING = "density-1"
"""Changes whenever a method would score the same passage otherwise."""

_WEIGHTS: tuple[tuple[float, Scorer], ...] = (
    (0.5, compression_density),
    (0.3, word_density),
    (0.2, structural_density),
)


def weighted_density(text: str, passages: Sequence[Passage], check: Check) -> list[float]:
    """Score passages by half compression, three tenths words and two tenths structure."""
    parts = [[weight * score for score in scorer(text, passages, check)] for weight, scorer in _WEIGHTS]
    return [sum(scores) for scores in zip(*parts, strict=True)]


SCORERS: dict[Method, Scorer] = {
    "compression": compression_density,
    "word": word_density,
    "ngram": ngram_density,
    "structural": structural_density,
    "weighted": weighted_density,
}
"""The methods that need the text alone; ``semantic`` needs vectors, see :mod:`openkimi_entropy.novelty`."""
