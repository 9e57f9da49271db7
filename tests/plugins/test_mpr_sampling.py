"""The samplers of ``openkimi_mpr``."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

import openkimi_mpr
from openkimi import Chunk, ContextSampler, Hit
from openkimi.testing import open_component

WORDS = [f"word{n}" for n in range(40)]
KINDS = ("diversity", "relevance")


def hit(ordinal: int, score: float, text: str = "") -> Hit:
    text = text or " ".join(random.Random(ordinal).choices(WORDS, k=12))
    chunk = Chunk(key=f"{ordinal:032x}", text=text, start=0, end=len(text), ordinal=ordinal)
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


@pytest.mark.parametrize("kind", KINDS)
async def test_every_context_has_every_hit_once(kind: str) -> None:
    """A context is an order of the hits: none is lost, none comes twice."""
    contexts = await sample(kind, HITS, 5, seed=3)

    assert all(sorted(context) == list(range(40)) for context in contexts)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_seed_gives_the_same_contexts(kind: str) -> None:
    """Sampling is a pure function of hits, number and seed, and the seed matters."""
    one = await sample(kind, HITS, 4, seed=7)
    again = await sample(kind, HITS, 4, seed=7)
    other = [await sample(kind, HITS, 4, seed=seed) for seed in range(20)]

    assert one == again
    assert any(contexts != one for contexts in other)


@pytest.mark.parametrize("kind", KINDS)
async def test_hits_that_hardly_matter_stay_last(kind: str) -> None:
    """A passage with less than half the best score never overtakes a relevant one."""
    relevant = [hit(ordinal, 1.0 - 0.01 * ordinal) for ordinal in range(10)]
    unrelated = [hit(ordinal, 0.1 - 0.001 * ordinal) for ordinal in range(10, 30)]

    contexts = await sample(kind, relevant + unrelated, 6)

    assert all(set(context[:10]) == set(range(10)) for context in contexts)
    assert all(context[10:] == list(range(10, 30)) for context in contexts)


async def test_diverse_contexts_put_repeated_passages_behind_new_ones() -> None:
    """After the best passage comes one that says something else, not the same words again."""
    same = "The mdadm command creates the software RAID array."
    hits = [
        hit(0, 1.0, same),
        hit(1, 0.98, same),
        hit(2, 0.97, same),
        hit(3, 0.9, "Backups go to tape weekly."),
    ]

    contexts = await sample("diversity", hits, 3)

    assert contexts[0] == [0, 1, 2, 3]
    assert [context[:2] for context in contexts[1:]] == [[0, 3], [0, 3]]


async def test_diversity_sees_repetition_in_chinese() -> None:
    """Texts without spaces are compared as well."""
    same = "软件阵列由管理命令创建并且同步"
    hits = [hit(0, 1.0, same), hit(1, 0.98, same), hit(2, 0.9, "备份每周写入磁带")]

    contexts = await sample("diversity", hits, 2)

    assert contexts[1] == [0, 2, 1]


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

    assert [sorted(context) for context in contexts] == [list(range(len(scores)))] * 3
