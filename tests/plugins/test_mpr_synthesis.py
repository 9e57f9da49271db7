"""The synthesizers of ``openkimi_mpr``."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Sequence

import msgspec
import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

import openkimi_mpr
from openkimi import (
    BackendUnavailable,
    Candidate,
    Chunk,
    Delta,
    Hit,
    Message,
    Synthesis,
    Synthesizer,
    ToolCall,
)
from openkimi.testing import open_component
from openkimi_mpr.ballot import Ballot
from openkimi_mpr.consensus import shares_of
from openkimi_mpr.declining import declines

KINDS = ("hierarchical", "support", "weighted", "majority", "consensus")
QUESTION = "In which year was the bridge at Arles built?"


class Model:
    """Stands in for the model: remembers what it was asked and writes one fixed text."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[Sequence[Message]] = []
        self.fails = fails
        self.closed = False

    async def __call__(self, messages: Sequence[Message]) -> AsyncIterator[Delta]:
        self.asked.append(messages)
        if self.fails:
            raise BackendUnavailable("busy")
        try:
            yield Delta(content="written ")
            yield Delta(content="anew")
            yield Delta(finish_reason="stop")
        finally:
            self.closed = True


def passage(text: str) -> tuple[Hit, ...]:
    chunk = Chunk(key="0" * 32, text=text, start=0, end=len(text), ordinal=0)
    return (Hit(document_id="doc_1", chunk=chunk, score=1.0),)


def candidates(*texts: str, context: str = "") -> list[Candidate]:
    hits = passage(context) if context else ()
    return [Candidate(index=index, text=text, context=hits) for index, text in enumerate(texts)]


async def synthesize(
    kind: str, given: Sequence[Candidate], model: Model | None = None, question: str = QUESTION
) -> tuple[Synthesis, list[Delta]]:
    provider = next(one for one in openkimi_mpr.register_synthesizers() if one.kind == kind)
    async with open_component(provider) as synthesizer:
        assert isinstance(synthesizer, Synthesizer)
        synthesis = await synthesizer.synthesize(question, given, model or Model())
        return synthesis, [delta async for delta in synthesis.answer]


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.content for delta in deltas)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_candidate_is_the_answer(kind: str) -> None:
    """A single candidate is taken as it is, with the reason it ended for."""
    given = [Candidate(index=5, text="In 1882.", finish_reason="length")]

    synthesis, deltas = await synthesize(kind, given)

    assert (synthesis.chosen, synthesis.agreement) == (5, 1.0)
    assert text_of(deltas) == "In 1882."
    assert deltas[-1].finish_reason == "length"


@pytest.mark.parametrize("kind", KINDS)
async def test_those_that_agree_outvote_the_one_that_does_not(kind: str) -> None:
    """The answer that most candidates give wins, word for word as one of them gave it."""
    given = candidates(
        "The bridge was built in 1744.", "It was built in 1882.", "Built in 1882, the bridge stands."
    )

    synthesis, deltas = await synthesize(kind, given)

    assert synthesis.chosen in (1, 2)
    assert text_of(deltas) == given[synthesis.chosen].text


@pytest.mark.parametrize("kind", KINDS)
async def test_agreement_runs_from_none_to_full(kind: str) -> None:
    """Agreement is the mean F1 over pairs: 1 for equal texts, 0 for texts without a common word."""
    equal, _ = await synthesize(kind, candidates("It is 1882.", "it is 1882", "IT IS 1882!"))
    different, _ = await synthesize(kind, candidates("red apples", "blue plums", "green pears"))
    between, _ = await synthesize(kind, candidates("red apples", "red plums"))

    assert equal.agreement == pytest.approx(1.0)
    assert different.agreement == pytest.approx(0.0)
    assert between.agreement == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
async def test_chinese_answers_are_compared_by_characters(kind: str) -> None:
    """Answers without spaces agree when their characters do."""
    given = candidates("大桥建于一七四四年。", "这座桥于一八八二年建成。", "一八八二年建成的这座桥。")

    synthesis, _ = await synthesize(kind, given, question="阿尔勒的桥建于哪一年？")

    assert synthesis.chosen in (1, 2)


@pytest.mark.parametrize("kind", KINDS)
async def test_empty_candidates_do_not_vote(kind: str) -> None:
    """Two empty answers, alike as they are, do not beat one that says something."""
    synthesis, deltas = await synthesize(kind, candidates("", "  ", "In 1882."))

    assert synthesis.chosen == 2
    assert text_of(deltas) == "In 1882."


@pytest.mark.parametrize("kind", KINDS)
async def test_only_empty_candidates_make_an_empty_answer(kind: str) -> None:
    """Where nobody says anything the answer is empty and still ends properly."""
    synthesis, deltas = await synthesize(kind, candidates("", ""))

    assert synthesis.chosen == 0
    assert text_of(deltas) == ""
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize("kind", KINDS)
async def test_tool_calls_are_compared_as_json_and_chosen_whole(kind: str) -> None:
    """The most frequent call wins whatever order its arguments are written in, and is passed on untouched."""

    def calling(index: int, arguments: str) -> Candidate:
        call = ToolCall(id=f"call_{index}", name="weather", arguments=arguments)
        return Candidate(index=index, text="", tool_calls=(call,), finish_reason="tool_calls")

    given = [
        calling(0, '{"city": "Nice"}'),
        calling(1, '{"city":"Arles","unit":"C"}'),
        calling(2, '{"unit": "C", "city": "Arles"}'),
    ]

    synthesis, deltas = await synthesize(kind, given)
    calls = [call for delta in deltas for call in delta.tool_calls]

    assert synthesis.chosen == 1
    assert [(call.index, call.id, call.name, call.arguments) for call in calls] == [
        (0, "call_1", "weather", '{"city":"Arles","unit":"C"}')
    ]
    assert deltas[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_lone_tool_call_does_not_outvote_two_answers(kind: str) -> None:
    """Whether to call a tool at all is voted on too."""
    call = ToolCall(id="call_0", name="weather", arguments="{}")
    given = [Candidate(index=0, text="", tool_calls=(call,)), *candidates("", "In 1882.", "In 1882.")[1:]]

    synthesis, _ = await synthesize(kind, given)

    assert synthesis.chosen == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_json_is_compared_by_content_and_kept_as_written(kind: str) -> None:
    """JSON answers agree in any key order; one that does not parse is not chosen over one that does."""
    given = candidates(
        '{"year": 1744}', '{"b": 2, "year": 1882}', '{"year": 1882, "b": 2}', '{"year": 1882, "b'
    )
    model = Model()

    synthesis, deltas = await synthesize(kind, given, model)

    assert text_of(deltas) == '{"b": 2, "year": 1882}'
    assert synthesis.chosen == 1
    assert model.asked == []


@pytest.mark.parametrize("kind", KINDS)
async def test_long_json_that_disagrees_is_never_rewritten(kind: str) -> None:
    """Even long answers without agreement are only chosen from when they are JSON, cut off or not."""
    given = candidates(
        *('{"list": ["' + '", "'.join(f"{name}{n}" for n in range(60)) for name in ("a", "b", "c"))
    )
    model = Model()

    synthesis, _ = await synthesize(kind, given, model)

    assert synthesis.chosen is not None
    assert model.asked == []


async def test_support_decides_where_candidates_disagree() -> None:
    """Of answers that contradict each other the one that stands in its context is chosen."""
    context = "The bridge at Arles was built in 1882 by the county."
    given = candidates("It was built in 1744.", "It was built in 1882.", context=context)

    synthesis, _ = await synthesize("hierarchical", given)

    assert synthesis.chosen == 1


async def test_repeating_the_question_is_no_support() -> None:
    """An answer that says only what was asked is weaker than one found in the text."""
    context = "The bridge at Arles was built in 1882 by the county."
    given = candidates("The bridge at Arles was built in the year.", "1882", context=context)

    synthesis, _ = await synthesize("hierarchical", given)

    assert synthesis.chosen == 1


async def test_a_short_answer_agrees_with_the_sentence_that_contains_it() -> None:
    """A bare name and a sentence with it are one vote, against two different other answers."""
    given = candidates(
        "Marcel", "It was Jean Pierre Dupont", "The engineer who built it was called Marcel", "Luc"
    )

    synthesis, _ = await synthesize("hierarchical", given, question="Who built it?")

    assert synthesis.chosen in (0, 2)


@pytest.mark.parametrize("kind", ["support", "weighted", "hierarchical"])
async def test_support_outweighs_one_unsupported_answer_more(kind: str) -> None:
    """Two that the text does not bear out, and that differ, lose against one that it does."""
    context = "The bridge at Arles was built in 1882 by the county."
    given = candidates("In 1744.", "In 1882.", "Long ago.", context=context)

    synthesis, _ = await synthesize(kind, given)

    assert synthesis.chosen == 1


async def test_support_goes_before_agreement() -> None:
    """The kind support chooses what the text says, even against two that agree."""
    context = "The bridge at Arles was built in 1882 by the county."
    given = candidates("In 1744.", "In 1744.", "In 1882.", context=context)

    synthesis, _ = await synthesize("support", given)

    assert (synthesis.chosen, synthesis.dissenting, synthesis.supported) == (2, (0, 1), True)


async def test_of_answers_that_agree_the_shortest_with_what_most_say_is_taken() -> None:
    """A bare year is not enough where the others give the day; a name is where they only wrap it."""
    day = "The islands shall be independent on 4 July 1946, said the President."
    dates = candidates("On 4 July 1946.", "1946", "It was the 4 July 1946.", context=day)
    mason = "The mason who laid it was Marcel Pitot of Nice."
    names = candidates(
        "The mason Marcel Pitot laid it.", "Marcel Pitot", "It was Marcel Pitot.", context=mason
    )

    dated, _ = await synthesize("hierarchical", dates, question="When shall the islands be independent?")
    named, _ = await synthesize("hierarchical", names, question="Which mason laid it?")

    assert dated.chosen == 0
    assert named.chosen == 1


async def test_consensus_chooses_whom_most_share_most_claims_with() -> None:
    """An answer whose every sentence another one has too wins over one that adds what nobody else says."""
    given = candidates(
        "Masons from Nice laid it. It cost 300 francs. A flood took it in 1910.",
        "Masons from Nice laid it. It has nine arches.",
        "It cost 300 francs. Masons from Nice laid it.",
    )

    synthesis, _ = await synthesize("consensus", given, question="What is known of the bridge?")

    assert synthesis.chosen == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_was_cut_off_is_taken_only_where_all_were(kind: str) -> None:
    """One that came to no end says the same again and again, or lacks its end."""
    cut_off = [
        msgspec.structs.replace(candidate, finish_reason="length")
        for candidate in candidates("In 1744. In 1744. In 1744.", "In 1744. In 1744.", "In 1744 it was.")
    ]
    ended = msgspec.structs.replace(cut_off[2], finish_reason="stop")

    one_ended, _ = await synthesize(kind, [*cut_off[:2], ended])
    none_ended, _ = await synthesize(kind, cut_off)

    assert one_ended.chosen == 2
    assert none_ended.chosen is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_a_filter_ended_is_one_that_was_cut_off(kind: str) -> None:
    """What a server's content filter left of it is no whole answer either."""
    filtered, ended = candidates("In 1744, when the county", "In 1882.")
    filtered = msgspec.structs.replace(filtered, finish_reason="content_filter")

    synthesis, _ = await synthesize(kind, [filtered, ended])

    assert synthesis.chosen == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_what_no_majority_says_and_nothing_bears_out_is_unsupported(kind: str) -> None:
    """Where no more than half agree and the text has none of their answers, it does not say it."""
    context = "The bridge at Arles was a gift of the county, as was the road."
    given = candidates("In 1744.", "In 1744.", "In 1882.", "In 1910.", context=context)

    synthesis, _ = await synthesize(kind, given)

    assert (synthesis.chosen, synthesis.supported) == (0, False)


async def test_majority_does_not_look_at_contexts() -> None:
    """The kind majority goes by agreement alone, even against the text."""
    context = "The bridge at Arles was built in 1882 by the county."
    given = candidates("In 1744.", "In 1744.", "In 1882.", context=context)

    synthesis, _ = await synthesize("majority", given)

    assert synthesis.chosen == 0


COUNTY = "The bridge at Arles was built in 1882 by the county."


@pytest.mark.parametrize("kind", KINDS)
async def test_those_that_say_something_else_are_named(kind: str) -> None:
    """Dissenting are the candidates outside of the answer's group; an empty one says nothing."""
    given = candidates("In 1882.", "It was 1882.", "", "In 1744.", context=COUNTY)

    synthesis, _ = await synthesize(kind, given)

    assert synthesis.chosen in (0, 1)
    assert synthesis.dissenting == (3,)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_that_was_cut_off_may_say_the_same(kind: str) -> None:
    """It has no vote, and dissents only where it says something else."""
    given = [
        Candidate(index=0, text="In 1882.", context=passage(COUNTY)),
        Candidate(index=1, text="In 1882. The county then", context=passage(COUNTY), finish_reason="length"),
        Candidate(index=2, text="In 1744, when the", context=passage(COUNTY), finish_reason="length"),
    ]

    synthesis, _ = await synthesize(kind, given)

    assert (synthesis.chosen, synthesis.dissenting) == (0, (2,))


@pytest.mark.parametrize("kind", KINDS)
async def test_words_of_the_question_are_no_agreement(kind: str) -> None:
    """Two sentences that differ in nothing but the year contradict each other."""
    given = candidates(
        "The bridge at Arles was built in 1744.",
        "The bridge at Arles was built in 1882.",
        "The bridge at Arles was built in 1910.",
    )

    synthesis, _ = await synthesize(kind, given)

    assert synthesis.agreement == pytest.approx(0.0)
    assert len(synthesis.dissenting) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("yes", "no"), [("Yes, it was built by the county.", "No, it was built by the county.")]
)
async def test_a_yes_is_not_a_no(kind: str, yes: str, no: str) -> None:
    """Answers that begin with yes and no dissent, however alike the rest is."""
    synthesis, _ = await synthesize(kind, candidates(yes, no, no), question="Did the county build it?")

    assert (synthesis.chosen, synthesis.dissenting) == (1, (0,))


@pytest.mark.parametrize("kind", KINDS)
async def test_those_that_decline_agree_whatever_their_words(kind: str) -> None:
    """Candidates that find nothing in the text are one group, and its answer is not supported."""
    given = candidates(
        "The text does not mention the year.",
        "In 1744.",
        "I'm sorry, but I cannot find that in the passages.",
        "Not specified.",
        context="The bridge at Arles was a gift of the county.",
    )

    synthesis, _ = await synthesize(kind, given)

    assert synthesis.chosen in (0, 2, 3)
    assert synthesis.dissenting == (1,)
    assert synthesis.supported is False


@pytest.mark.parametrize("kind", KINDS)
async def test_a_supported_answer_is_told_from_a_guess(kind: str) -> None:
    """Supported is True for what stands in the text, False where all differ and none of it does."""
    borne_out, _ = await synthesize(kind, candidates("In 1882.", "It was 1882.", context=COUNTY))
    guessed, _ = await synthesize(kind, candidates("In 1744.", "In 1910.", "In 1630.", context=COUNTY))

    assert borne_out.supported is True
    assert guessed.supported is False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("texts", "context", "question"),
    [
        (["In 1744.", "In 1910."], "", QUESTION),
        (["Yes.", "No."], COUNTY, "Did the county build it?"),
        (["In 1744.", "In 1744."], COUNTY, QUESTION),
        (["It was erected by local authorities.", "Authorities erected it."], COUNTY, "Who built it?"),
        (["The county.", "A mason."], "这座桥由郡政府出资修建，后来毁于洪水。", "Who built the bridge?"),
        (["Der Landkreis.", "Ein Maurer."], COUNTY, "Wer hat die Brücke bei Arles gebaut?"),
        ([" ".join(f"{name}{n}" for n in range(60)) for name in "ab"], COUNTY, "Summarise this."),
        (['{"year": 1744}', '{"year": 1910}'], COUNTY, QUESTION),
    ],
    ids=["nothing read", "yes and no", "agreement", "other words", "Chinese", "German", "summary", "JSON"],
)
async def test_what_words_cannot_tell_is_left_open(
    kind: str, texts: list[str], context: str, question: str
) -> None:
    """Without passages, or where an answer may say in other words what they say, supported is None."""
    synthesis, _ = await synthesize(kind, candidates(*texts, context=context), question=question)

    assert synthesis.supported is None


def essays(count: int) -> list[Candidate]:
    return candidates(*(" ".join(f"{name}{n}" for n in range(60)) for name in "abcd"[:count]))


async def test_long_drafts_of_which_no_two_agree_are_written_into_one() -> None:
    """Only then is the model asked, with question and drafts; its stream is the answer and is closed."""
    model = Model()

    synthesis, deltas = await synthesize("hierarchical", essays(3), model)
    asked = model.asked[0][-1].text

    assert synthesis.chosen is None
    assert text_of(deltas) == "written anew"
    assert deltas[-1].finish_reason == "stop"
    assert QUESTION in asked
    assert all(f"{name}59" in asked for name in "abc")
    assert model.closed


@pytest.mark.parametrize(
    "given",
    [essays(2), candidates("red", "blue", "green"), [*essays(3), Candidate(index=3, text=essays(1)[0].text)]],
    ids=["two drafts", "short answers", "two that agree"],
)
async def test_the_model_is_not_asked_otherwise(given: list[Candidate]) -> None:
    """Fewer than three drafts, short answers, and any agreement are settled by choosing."""
    model = Model()

    synthesis, _ = await synthesize("hierarchical", given, model)

    assert synthesis.chosen is not None
    assert model.asked == []


async def test_a_model_that_fails_leaves_the_best_draft() -> None:
    """When writing fails before its first word, a draft is the answer after all."""
    given = essays(3)

    _, deltas = await synthesize("hierarchical", given, Model(fails=True))

    assert text_of(deltas) in [candidate.text for candidate in given]
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_candidates_give_the_same_choice(kind: str) -> None:
    """Choosing is deterministic."""
    given = candidates(
        "red apples", "red plums", "blue plums", "blue apples", context="blue plums and apples"
    )

    chosen = {(await synthesize(kind, given))[0].chosen for _ in range(5)}

    assert len(chosen) == 1


def settled(kind: str, given: Sequence[Candidate], paths: int, question: str = QUESTION) -> Awaitable[bool]:
    async def ask() -> bool:
        provider = next(one for one in openkimi_mpr.register_synthesizers() if one.kind == kind)
        async with open_component(provider) as synthesizer:
            return synthesizer.settled(question, given, paths)

    return ask()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_first_answer_that_stands_in_the_text_settles_it(kind: str) -> None:
    """Short, and all of it beside the words of the question: the other paths would say the same."""
    assert await settled(kind, candidates("It was built in 1882.", context=COUNTY), 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "first",
    [
        *candidates("It was built in 1744.", "The text does not mention it.", "Yes.", "", context=COUNTY),
        *candidates("In 1882. A flood took it twenty years later.", context=COUNTY),
        *candidates("In 1882."),
        Candidate(index=0, text="In 1882", context=passage(COUNTY), finish_reason="length"),
        Candidate(index=0, text='{"year": 1882}', context=passage(COUNTY)),
        Candidate(
            index=0,
            text="",
            tool_calls=(ToolCall(id="call_0", name="build", arguments="{}"),),
            context=passage(COUNTY),
        ),
    ],
    ids=["wrong", "declines", "yes", "empty", "adds", "nothing read", "cut off", "JSON", "tool"],
)
async def test_any_other_first_answer_does_not(kind: str, first: Candidate) -> None:
    """What cannot be found in the text, or not be looked for there, waits for other paths."""
    assert not await settled(kind, [first], 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_enough_that_agree_settle_it(kind: str) -> None:
    """Once the paths that are left cannot outvote an answer they need not be walked; the last ends it."""
    two = candidates("In 1744.", "It was 1744.")
    split = candidates("In 1744.", "In 1882.")
    three = candidates("In 1744.", "In 1882.", "It was 1882.")

    assert [await settled(kind, two, paths) for paths in (3, 4, 5)] == [True, True, False]
    assert not await settled(kind, split, 4)
    assert [await settled(kind, three, paths) for paths in (3, 4)] == [True, False]


def cut_off(*candidates: Candidate) -> list[Candidate]:
    return [msgspec.structs.replace(candidate, finish_reason="length") for candidate in candidates]


@pytest.mark.parametrize("kind", KINDS)
async def test_one_answer_among_those_without_a_vote_settles_nothing(kind: str) -> None:
    """Of paths that were cut off at something else, or said nothing, none agrees with the one that ended."""
    ended, *others = candidates("In 1882.", "In 1744 the", "In 1910 a", "In 1744 the county")

    assert not await settled(kind, [ended, *cut_off(*others[:2])], 4)
    assert not await settled(kind, [ended, *cut_off(*others)], 5)
    assert not await settled(kind, candidates("", "", "In 1882."), 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_that_was_cut_off_agrees_with_what_begins_as_it_does(kind: str) -> None:
    """It saves the paths that are left, and what it went on to say does not count."""
    ended, short, long = candidates(
        "Masons from Nice laid it in stone.",
        "Masons from Nice laid",
        "Masons who came from Nice laid it. A flood took all nine arches in autumn, and ferries followed",
    )

    assert await settled(kind, [ended, *cut_off(short)], 4)
    assert await settled(kind, [ended, *cut_off(long)], 4)
    assert not await settled(kind, [ended, long], 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_tool_calls_that_agree_settle_it(kind: str) -> None:
    """Equal calls count as equal answers."""
    given = [
        Candidate(
            index=at, text="", tool_calls=(ToolCall(id=f"call_{at}", name="weather", arguments=arguments),)
        )
        for at, arguments in enumerate(('{"city": "Nice"}', '{"city":"Nice"}'))
    ]

    assert await settled(kind, given, 4)


TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", "Yes", "否", "1,5", "{}", "[", "</think>", "The text does not say.", "文中没有提到。", "\ud800"]
    ),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@generated(
    texts=st.lists(TEXTS, min_size=1, max_size=6),
    question=st.text(max_size=40),
    context=st.text(max_size=80),
)
async def test_whatever_is_said_one_answer_is_made_of_it(
    kind: str, texts: list[str], question: str, context: str
) -> None:
    """Any candidates on any question give one of them, with measures in their bounds."""
    given = candidates(*texts, context=context)

    synthesis, deltas = await synthesize(kind, given, question=question)

    assert synthesis.chosen is not None
    assert text_of(deltas) == texts[synthesis.chosen]
    assert synthesis.agreement is not None
    assert 0 <= synthesis.agreement <= 1
    assert synthesis.chosen not in synthesis.dissenting
    assert await settled(kind, given, len(given)) is True


@pytest.mark.parametrize("kind", KINDS)
async def test_huge_candidates_are_compared_in_little_time(kind: str) -> None:
    """Eight answers of a thousand words over much text take no half minute."""
    context = " ".join(f"word{n % 997}" for n in range(5000))
    given = candidates(
        *(" ".join(f"word{n % (700 + at)}." for n in range(1000)) for at in range(8)), context=context
    )

    began = time.monotonic()
    synthesis, _ = await synthesize(kind, given)

    assert synthesis.agreement is not None
    assert time.monotonic() - began < 30


async def test_consensus_over_many_long_answers_takes_little_time() -> None:
    """Sixteen answers of 200 sentences make 3,200 claims, of which no two that differ much are compared."""
    source = random.Random(1)
    sentences = [
        f"So {' '.join(f'word{source.randrange(2000)}' for _ in range(8))}." for _ in range(16 * 200)
    ]
    given = candidates(*(" ".join(sentences[at::16]) for at in range(16)))

    began = time.thread_time()
    shares = shares_of(Ballot(QUESTION, given))

    assert sum(map(len, shares)) == len(sentences)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("text", [", " * 200, "，" * 400, "." * 400, "the provided " * 30, "i'm sorry " * 40])
def test_whether_an_answer_declines_is_told_at_once(text: str) -> None:
    """No text makes the expressions try all ways to part it."""
    began = time.thread_time()

    assert not declines(text)
    assert time.thread_time() - began < 0.1
