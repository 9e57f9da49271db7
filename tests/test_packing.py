"""Packing: what stands in a prompt is marked where something was left out, and keeps its place."""

import msgspec
import pytest

import openkimi_scripted
from openkimi import Backend, Chunk, GenerateRequest, Hit, Message, Sentence
from openkimi.budget import Budget
from openkimi.packing import Packed, pack
from openkimi.testing import open_component
from openkimi.turn import Cut, Turn

PROVIDER = next(iter(openkimi_scripted.register_backends()))
SENTENCES = ("The harbour lies north. ", "It is deep and wide. ", "Boats sail at noon.")


def passage(ordinal: int, weights: tuple[float, ...] | None = None, heading: str = "Harbours") -> Hit:
    """Make a passage of three sentences that begins where the one before it ends."""
    text = "".join(SENTENCES)
    start = ordinal * (len(text) + 2)
    spans, at = [], 0
    for sentence in SENTENCES:
        spans.append((at, at + len(sentence)))
        at += len(sentence)
    return Hit(
        document_id="doc",
        chunk=Chunk(
            key=f"k{ordinal}",
            text=text,
            start=start,
            end=start + len(text),
            ordinal=ordinal,
            headings=(heading,),
        ),
        score=1.0 / (ordinal + 1),
        sentences=tuple(Sentence(*span, weight) for span, weight in zip(spans, weights or (), strict=False)),
    )


async def packed(hits: list[Hit], context: int, top_k: int | None = None) -> Packed:
    request = GenerateRequest(
        messages=(Message(role="system", content=""), Message(role="user", content="?"))
    )
    system, user = request.messages
    turn = Turn(
        request=request, cuts=(Cut(message=system, documents=("doc",)), Cut(message=user)), question="?"
    )
    budget = Budget(window=8192, answer=1024, context=context, core=0)
    async with open_component(PROVIDER) as backend:
        assert isinstance(backend, Backend)
        return await pack(backend, turn, hits, budget, top_k=top_k)


def shown(result: Packed) -> str:
    return result.request.messages[0].text


async def test_neighbours_are_joined_and_gaps_are_marked() -> None:
    """Passages that follow each other have a line break between them, others a mark; a heading comes once."""
    text = shown(await packed([passage(0), passage(1), passage(3)], 1000))

    whole = "".join(SENTENCES)
    assert text.endswith(f"Harbours\n{whole}\n{whole}\n…\n{whole}")


@pytest.mark.parametrize(
    "text",
    [
        "Harbours\nBoats sail.",
        "## Harbours\nBoats sail.",
        "PORTS\n\n**Harbours**\nBoats sail.",
        "\nHarbours: a list",
    ],
)
def test_a_heading_is_not_said_twice(text: str) -> None:
    """One that stands in the first lines, in Markdown too, needs no other in front."""
    chunk = Chunk(key="k", text=text, start=0, end=len(text), ordinal=0, headings=("PORTS", "Harbours"))

    assert chunk.under_heading == text
    assert msgspec.structs.replace(chunk, text="Boats sail.").under_heading == "Harbours\nBoats sail."


async def test_what_was_left_out_of_a_passage_is_marked() -> None:
    """Two sentences of a passage without the one between them do not look like one text."""
    result = await packed([passage(0, (0.5, 0.0, 0.5))], 34)

    assert shown(result).endswith("Harbours\nThe harbour lies north.\n…\nBoats sail at noon.")
    assert [(each.chunk.start, each.chunk.end) for each in result.passages] == [(0, 23), (45, 64)]


async def test_a_passage_cut_at_its_end_does_not_join_the_next() -> None:
    """Where the end of one passage is missing, the next stands behind a mark."""
    text = shown(await packed([passage(0, (1.0, 0.0, 0.0)), passage(1, (0.5, 0.4, 0.1))], 36))

    assert "The harbour lies north.\n…\nThe harbour" in text


async def test_another_heading_is_told() -> None:
    """A passage under another heading has it in front."""
    text = shown(await packed([passage(0), passage(2, heading="Boats")], 1000))

    assert "\n…\nBoats\nThe harbour" in text


async def test_a_passage_too_large_for_the_budget_is_cut_to_its_best_sentence() -> None:
    """With hardly any room the sentence that matters stands there, or its beginning, and no mere shred."""
    for context in range(10, 22):
        result = await packed([passage(0, (0.1, 0.1, 0.8))], context)

        [cut] = result.passages or [None]
        assert cut is None or (cut.chunk.start >= 45 and len(cut.chunk.text) > 5)
    assert shown(result).endswith("Boats sail at noon.")


@pytest.mark.parametrize("context", [1, 5, 13, 20, 40, 80, 200])
async def test_no_budget_is_exceeded(context: int) -> None:
    """Whatever the budget, document text keeps to it."""
    hits = [passage(ordinal, (0.3, 0.3, 0.4)) for ordinal in range(8)]
    result = await packed(hits, context)

    assert result.context_tokens <= context
    assert {msgspec.structs.replace(each.chunk, text="").ordinal for each in result.passages} <= set(range(8))
