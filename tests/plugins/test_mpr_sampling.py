"""The samplers of ``openkimi_mpr``."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import openkimi_mpr
from openkimi import Chunk, ContextSampler, Hit
from openkimi.testing import open_component

WORDS = [f"word{n}" for n in range(40)]
KINDS = ("diversity", "relevance", "cutoff", "entropy", "random")
COMPLETE = ("relevance", "entropy", "random")
BY_RELEVANCE = ("diversity", "relevance", "cutoff", "entropy")


def hit(ordinal: int, score: float, text: str = "") -> Hit:
    text = text or " ".join(random.Random(ordinal).choices(WORDS, k=12))
    chunk = Chunk(
        key=f"{ordinal:032x}", text=text, start=0, end=len(text), ordinal=ordinal, density=ordinal % 7 / 7
    )
    return Hit(document_id="doc_1", chunk=chunk, score=score)


async def sample(kind: str, hits: Sequence[Hit], n: int, seed: int = 0) -> list[list[int]]:
    provider = next(one for one in openkimi_mpr.register_samplers() if one.kind == kind)
    async with open_component(provider) as sampler:
        assert isinstance(sampler, ContextSampler)
        return [[one.chunk.ordinal for one in context] for context in sampler.sample(hits, n, seed=seed)]


HITS = [hit(ordinal, 0.2 - 0.004 * ordinal) for ordinal in range(40)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 4, 8])
async def test_the_first_context_is_what_a_single_path_gets(kind: str, n: int) -> None:
    """There are n contexts, and the first one has the hits as they came."""
    contexts = await sample(kind, HITS, n)

    assert len(contexts) == n
    assert contexts[0] == list(range(40))


@pytest.mark.parametrize("kind", COMPLETE)
async def test_every_context_has_every_hit_once(kind: str) -> None:
    """A context is an order of the hits: none is lost, none comes twice."""
    contexts = await sample(kind, HITS, 5, seed=3)

    assert all(sorted(context) == list(range(40)) for context in contexts)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_seed_gives_the_same_contexts(kind: str) -> None:
    """Sampling is a pure function of hits, number and seed, and the seed matters."""
    one = await sample(kind, HITS, 12, seed=7)
    again = await sample(kind, HITS, 12, seed=7)
    other = [await sample(kind, HITS, 12, seed=seed) for seed in range(20)]

    assert one == again
    assert any(contexts != one for contexts in other)


@pytest.mark.parametrize("kind", BY_RELEVANCE)
async def test_hits_that_hardly_matter_stay_last(kind: str) -> None:
    """A passage with less than half the best score never overtakes a relevant one."""
    relevant = [hit(ordinal, 1.0 - 0.01 * ordinal) for ordinal in range(10)]
    unrelated = [hit(ordinal, 0.1 - 0.001 * ordinal) for ordinal in range(10, 30)]

    contexts = await sample(kind, relevant + unrelated, 12)

    assert all(set(context[:10]) <= set(range(10)) for context in contexts)
    assert all(context[10:] == list(range(10, 10 + len(context[10:]))) for context in contexts)


async def test_random_contexts_read_anything() -> None:
    """The baseline draws evenly: what hardly matters comes first as often as what does."""
    contexts = await sample("random", [hit(n, 1 / (1 + n)) for n in range(100)], 32)

    assert sum(context[0] >= 50 for context in contexts[1:]) >= 8


async def test_cutoff_contexts_end_at_the_best() -> None:
    """Each context begins the ranking; all of it comes twice, as a small model's first is cut."""
    contexts = await sample("cutoff", HITS, 9)

    assert [len(context) for context in contexts] == [40, 1, 40, 2, 4, 8, 6, 12, 16]
    assert all(context == list(range(len(context))) for context in contexts)


async def test_after_all_cutoffs_passages_are_drawn() -> None:
    """More paths than cutoffs read other passages to the same number."""
    contexts = await sample("cutoff", HITS, 32)

    assert len({tuple(context) for context in contexts}) > 20


async def test_entropy_contexts_begin_with_dense_passages() -> None:
    """Of relevant passages those with more information come first, whatever their score."""
    contexts = await sample("entropy", HITS, 6)

    assert all(sum(ordinal % 7 for ordinal in context[:5]) >= 5 * 5 for context in contexts[1:])


async def test_diverse_contexts_put_repeated_passages_behind_new_ones() -> None:
    """After the best passage comes one that says something else, not the same words again."""
    same = "The mdadm command creates the software RAID array."
    hits = [
        hit(0, 1.0, same),
        hit(1, 0.98, same),
        hit(2, 0.97, same),
        hit(3, 0.9, "Backups go to tape weekly."),
    ]

    contexts = await sample("diversity", hits, 4)

    assert contexts == [[0, 1, 2, 3], [0], [0, 3, 1, 2], [0, 3]]


async def test_diverse_contexts_differ_in_how_much_they_hold() -> None:
    """Each ends at its own rank, so that prompts differ; after all cutoffs they are whole."""
    contexts = await sample("diversity", HITS, 12)

    assert [len(context) for context in contexts] == [40, 1, 40, 2, 4, 8, 6, 12, 16, 40, 40, 40]
    assert all(context[0] == 0 for context in contexts)


async def test_diversity_sees_repetition_in_chinese() -> None:
    """Texts without spaces are compared as well."""
    same = "软件阵列由管理命令创建并且同步"
    hits = [hit(0, 1.0, same), hit(1, 0.98, same), hit(2, 0.9, "备份每周写入磁带")]

    contexts = await sample("diversity", hits, 3)

    assert contexts[2] == [0, 2, 1]


async def test_relevance_contexts_differ_but_start_with_good_passages() -> None:
    """Orders vary between contexts, while the front is taken from the best passages."""
    contexts = await sample("relevance", [hit(n, 1 / (10 + n)) for n in range(30)], 8)

    assert len({tuple(context[:5]) for context in contexts}) > 2
    assert all(min(context[:3]) <= 3 for context in contexts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scores", [[], [1.0], [0.0, 0.0, 0.0], [-1.0, -2.0]])
async def test_any_scores_will_do(kind: str, scores: list[float]) -> None:
    """No hits, one hit, and scores that are not positive are sampled too."""
    contexts = await sample(kind, [hit(n, score) for n, score in enumerate(scores)], 3)

    assert len(contexts) == 3
    assert all(set(context) <= set(range(len(scores))) for context in contexts)
    assert all(contexts) or not scores


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    scores=st.lists(st.floats(-1e6, 1e6), max_size=30),
    texts=st.lists(st.text(max_size=40), min_size=30, max_size=30),
    n=st.integers(1, 32),
    seed=st.integers(0, 2**63),
)
async def test_whatever_is_found_can_be_sampled(
    kind: str, scores: list[float], texts: list[str], n: int, seed: int
) -> None:
    """Any texts under any scores make n contexts, each of different hits among those found."""
    hits = [
        hit(at, score, text)
        for at, (score, text) in enumerate(zip(sorted(scores)[::-1], texts, strict=False))
    ]

    contexts = await sample(kind, hits, n, seed)

    assert len(contexts) == n
    assert contexts[0] == list(range(len(hits)))
    assert all(len(set(context)) == len(context) for context in contexts)
    assert all(set(context) <= set(range(len(hits))) for context in contexts)
