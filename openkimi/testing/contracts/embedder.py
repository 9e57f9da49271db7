"""What every embedder promises."""

from __future__ import annotations

import asyncio
from typing import Literal

import numpy as np
import pytest

from openkimi.contracts import Embedder, Vectors
from openkimi.testing.contracts.contract import Contract, promise
from openkimi.testing.contracts.texts import EMPTY, LONE_SURROGATE, TEXTS, each_text
from openkimi.testing.contracts.watching import flowing, give_up

_SAME = 0.999
_UNIT = pytest.approx(1, abs=1e-3)
each_type = pytest.mark.parametrize("input_type", ["query", "document"])


class EmbedderContract(Contract):
    """What every embedder promises. ``many`` is the number of texts of a large call."""

    contract = Embedder
    many = 300

    @promise
    async def test_a_row_is_as_long_as_it_says(self, embedder: Embedder) -> None:
        """``dimensions`` is positive and the length of each row; rows are float32, one for each text."""
        vectors = await embedder.embed(list(TEXTS.values()))

        assert embedder.dimensions > 0
        assert vectors.shape == (len(TEXTS), embedder.dimensions)
        assert vectors.dtype == np.float32

    @each_type
    @promise
    async def test_no_texts_have_no_rows(
        self, embedder: Embedder, input_type: Literal["query", "document"]
    ) -> None:
        """No texts give an array without rows, as wide as others."""
        assert (await embedder.embed([], input_type=input_type)).shape == (0, embedder.dimensions)

    @each_type
    @promise
    async def test_nothing_to_embed_is_zeros(
        self, embedder: Embedder, input_type: Literal["query", "document"]
    ) -> None:
        """A text without anything in it has a row of zeros and leaves the others alone."""
        vectors = await embedder.embed([*EMPTY.values(), TEXTS["english"]], input_type=input_type)

        assert not vectors[: len(EMPTY)].any()
        assert np.linalg.norm(vectors[-1]) == _UNIT

    @each_type
    @each_text
    @promise
    async def test_a_row_has_unit_length(
        self, embedder: Embedder, text: str, input_type: Literal["query", "document"]
    ) -> None:
        """The row of any text has the length 1, or 0 where there is nothing to embed."""
        [vector] = await embedder.embed([text], input_type=input_type)

        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) in (_UNIT, 0)

    @promise
    async def test_lone_surrogates_do_no_harm(self, embedder: Embedder) -> None:
        """A text that no encoding can carry has a row too."""
        vectors = await embedder.embed([LONE_SURROGATE, TEXTS["english"]])

        assert np.isfinite(vectors).all()
        assert np.linalg.norm(vectors[1]) == _UNIT

    @promise
    async def test_the_same_text_has_the_same_row(self, embedder: Embedder) -> None:
        """A row depends on its text alone, not on what is embedded with it, before it or beside it."""
        texts = [*TEXTS.values(), *(f"Sentence {n} speaks of the {n}th thing." for n in range(20))]
        together = await embedder.embed(texts)
        backwards = (await embedder.embed(texts[::-1]))[::-1]
        alone = np.concatenate([await embedder.embed([text]) for text in texts[::5]])

        assert alike(together, backwards)
        assert alike(together[::5], alone)

    @promise
    async def test_another_instance_has_the_same_rows(self, embedder: Embedder) -> None:
        """Where the ``fingerprint`` is the same, so are the rows: stored ones outlive the process."""
        async with self.open() as other:
            assert other.fingerprint == embedder.fingerprint
            assert alike(await embedder.embed([TEXTS["chinese"]]), await other.embed([TEXTS["chinese"]]))
        assert embedder.fingerprint

    @promise
    async def test_a_text_is_nearest_to_itself(self, embedder: Embedder) -> None:
        """Different texts have different rows."""
        texts = [
            "The harbour master keeps the keys of the lighthouse.",
            "Bake the bread for forty minutes until the crust is brown.",
            "备份每周写入磁带，磁带保存在银行的保险柜里。",
        ]
        vectors = await embedder.embed(texts)

        assert (vectors @ (await embedder.embed(texts)).T).argmax(axis=1).tolist() == [0, 1, 2]

    @promise
    async def test_calls_at_once_get_rows_of_their_own(self, embedder: Embedder) -> None:
        """Many calls at the same time, questions and passages, each get the rows of their texts."""
        texts = [f"Question {n} asks about item {n * 7}." for n in range(20)]
        questions = [embedder.embed([text], input_type="query") for text in texts]
        passages = [embedder.embed([text]) for text in texts]

        rows = await asyncio.gather(*questions, *passages)

        assert alike(np.concatenate(rows[:20]), await embedder.embed(texts, input_type="query"))
        assert alike(np.concatenate(rows[20:]), await embedder.embed(texts))

    @each_type
    @promise
    async def test_a_trim_changes_no_row(
        self, embedder: Embedder, input_type: Literal["query", "document"]
    ) -> None:
        """``trim`` in the middle of a call lets it go on, and the rows are those of before."""
        known = [TEXTS["english"], TEXTS["chinese"]]
        before = await embedder.embed(known, input_type=input_type)
        texts = [*known, "The first new text.", "The second one."]

        embedding = asyncio.ensure_future(embedder.embed(texts, input_type=input_type))
        await asyncio.sleep(0)
        await embedder.trim()
        meanwhile = await embedding

        assert alike(meanwhile[: len(known)], before)
        assert alike(await embedder.embed(texts, input_type=input_type), meanwhile)

    @promise
    async def test_a_large_call_holds_nobody_up(self, embedder: Embedder) -> None:
        """Many texts, one of them a long one, are embedded while the event loop goes on."""
        texts = [f"Passage {n}. " + "The tide turns at noon. " * 10 for n in range(self.many)]

        async with flowing(self.longest_pause):
            vectors = await embedder.embed([*texts, "The tide turns at noon. " * 2_000])

        assert vectors.shape == (self.many + 1, embedder.dimensions)
        assert np.linalg.norm(vectors[-1]) == _UNIT

    @promise
    async def test_a_cancelled_call_stops_soon(self, embedder: Embedder) -> None:
        """Whoever is cancelled is let go soon, and the next call is served."""
        texts = [f"Passage {n}. " + "The tide turns at noon. " * 10 for n in range(self.many)]
        for after in (0.0, 0.05):
            await give_up(embedder.embed(texts), after=after, soon=self.soon)

        [vector] = await embedder.embed([TEXTS["english"]])

        assert np.linalg.norm(vector) == _UNIT


def alike(one: Vectors, other: Vectors) -> bool:
    """Tell whether rows point in the same directions, rows of zeros included."""
    cosines = (one * other).sum(axis=1)
    empty = ~one.any(axis=1) & ~other.any(axis=1)
    return bool(((cosines > _SAME) | empty).all())
