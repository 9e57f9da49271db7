"""What users set for the processor ``entropy``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from openkimi import ConfigError
from openkimi_entropy.density import Method
from openkimi_entropy.measure import CHARACTERS_PER_TOKEN, TOKENS_PER_CJK, Measure

_CJK_CHARACTER = 3.0
_SLACK = 4 / 3


class EntropyOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How documents are cut and scored."""

    entropy_method: Annotated[
        Method,
        msgspec.Meta(
            description="How information density is scored: by conditional compression, by the surprisal of "
            "words or of character n-grams, by distance in meaning (embeds every chunk first), by numbers, "
            "names and punctuation, or by a weighted mean of compression, word and structural."
        ),
    ] = "compression"
    chunk_characters: Annotated[
        int,
        msgspec.Meta(
            ge=100,
            le=20_000,
            description="About how many characters of English a chunk has, at most a third more; a Chinese "
            "character counts as three.",
        ),
    ] = 600
    batch_size: Annotated[
        Annotated[int, msgspec.Meta(ge=16, le=32_768)] | None,
        msgspec.Meta(
            description="The most tokens a chunk may have, in place of chunk_characters; 4 alphabetic "
            "characters are taken as a token, a Chinese one as 1.2."
        ),
    ] = None
    overlap_size: Annotated[
        int,
        msgspec.Meta(ge=0, description="How many tokens of the chunk before it a chunk repeats, at most."),
    ] = 0
    entropy_threshold: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)] | None,
        msgspec.Meta(
            description="Chunks of a lower density never belong to the dense part of a prompt; they are "
            "stored and found all the same."
        ),
    ] = None

    @property
    def measure(self) -> Measure:
        """The size of a chunk."""
        if self.batch_size is None:
            return Measure(self.chunk_characters * _SLACK, _CJK_CHARACTER, self.overlap_size)
        bound = self.batch_size * CHARACTERS_PER_TOKEN
        return Measure(bound, CHARACTERS_PER_TOKEN * TOKENS_PER_CJK, self.overlap_size)


def check_options(options: EntropyOptions) -> None:
    """Refuse an overlap that leaves a chunk less than half new.

    Raises:
        ConfigError: says how large the overlap may be.
    """
    most = int(options.measure.bound / CHARACTERS_PER_TOKEN / 2)
    if options.overlap_size > most:
        raise ConfigError(
            f"processor.overlap_size: expected at most {most}, half of a chunk ({options.overlap_size}); "
            "make it smaller or batch_size larger"
        )
