"""The benchmark of several paths scores and replays what it says, shown on answers written by hand."""

import pytest

from openkimi import Delta, Hit, Synthesis, Synthesizer
from openkimi.documents import Chunk

pytestmark = pytest.mark.usefixtures("benchmarks")


class Longest(Synthesizer):
    """Chooses the longest answer, is satisfied with two, and asks the model for a better one first."""

    async def synthesize(self, question, candidates, generate):
        from openkimi import BackendError

        try:
            async for _ in generate(()):
                pass
        except BackendError:
            pass
        chosen = max(candidates, key=lambda each: len(each.text))

        async def answer():
            yield Delta(content=chosen.text)
            yield Delta(finish_reason="stop")

        return Synthesis(answer=answer(), chosen=chosen.index)

    def settled(self, question, candidates, paths):
        return len(candidates) == 2


def record(text, index=0, **values):
    from candidates import Record

    chunk = Chunk(key="k", text="The cat sleeps.", start=0, end=15, ordinal=0)
    shared = {
        "settings": "s",
        "set": "public",
        "id": "q",
        "lang": "en",
        "kind": "lookup",
        "sampler": "diversity",
        "seed": index,
        "question": "Where does the cat sleep?",
        "passages": (Hit(document_id="d", chunk=chunk, score=1.0),),
        "prompt": f"p{index}",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cached": 0,
        "finish_reason": "stop",
        "seconds": 2.0,
    }
    return Record(text=text, index=index, **{**shared, **values})


def case(*texts, answer=("on the roof",), kind="lookup"):
    from questions import Question
    from replaying import cases_of

    question = Question(
        id="q", doc="d", lang="en", kind=kind, question="Where does the cat sleep?", answer=answer
    )
    records = [record(text, index) for index, text in enumerate(texts)]
    records.append(record("on the roof", sampler="oracle passage"))
    [found] = cases_of(records, {"q": ("public", question)})
    return found


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("The Roof.", "roof", 1, 1),
        ("on the red roof", "roof", 0, 0.5),
        ("330000", "330,000", 1, 1),
        ("四个月", "四个月。", 1, 1),
        ("仅仅四个月", "四个月", 0, 0.75),
        ("the cellar", "roof", 0, 0),
        ("", "roof", 0, 0),
    ],
)
def test_answers_are_scored_as_squad_does(answer, gold, exact, f1):
    """Case, punctuation and articles do not count; Chinese is compared by characters."""
    from scoring import score

    found = score(answer, (gold,), "lookup")

    assert (found.exact, found.f1) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("kind", "answer", "gold", "contained"),
    [
        ("lookup", "It is the Netatalk daemon.", "Netatalk", 1),
        ("lookup", "It is 13 characters long.", "3", 0),
        ("enumerate", "Levels 0, 1 and 2", "0, 1, 2 and 6", 0.75),
        ("enumerate", "grub-pc 和 grub-uboot", "grub-pc、grub-uboot", 1),
        ("multi", "In 1996.", "1996; Open Source Definition", 0.5),
        ("lookup", "In 1996.", "1996; Open Source Definition", 0),
    ],
)
def test_answers_of_several_parts_are_scored_by_parts(kind, answer, gold, contained):
    """Each part of an enumeration, and of an answer to a question of two parts, counts for itself."""
    from scoring import score

    assert score(answer, (gold,), kind).contained == contained


def test_the_best_accepted_answer_counts():
    """Of several accepted answers the one that is nearest counts."""
    from scoring import score

    assert score("2017", ("in 2017", "2017"), "lookup").exact == 1


@pytest.mark.parametrize(
    "answer",
    [
        "The text does not say when it was founded.",
        "This isn't mentioned in the document.",
        "There is no information about it.",
        "It cannot be determined.",
        "Unknown",
        "文中没有提到。",
        "无法确定证书的上限。",
    ],
)
def test_an_answer_can_say_that_the_document_does_not_say_it(answer):
    """A question without an answer is answered rightly by saying so."""
    from scoring import score

    assert score(answer, ("not in the document",), "absent").f1 == 1


@pytest.mark.parametrize(
    "answer", ["In 1998.", "It is not necessary to unmount it.", "不需要先卸载。", "No, nobody."]
)
def test_a_denial_is_not_taken_for_saying_that_it_is_absent(answer):
    """An answer that only has a negation in it says something."""
    from scoring import score

    assert score(answer, ("not in the document",), "absent").f1 == 0


def test_a_gain_is_zero_only_within_its_interval():
    """The interval of a gain that all questions share excludes zero; that of chance holds it."""
    from bootstrap import gain

    sure, unsure = gain([1, 1, 1, 0.5], [0.5, 0.5, 0.5, 0]), gain([1, 0, 1, 0], [0, 1, 0, 1])

    assert sure == pytest.approx((0.5, 0.5, 0.5))
    assert unsure.mean == 0
    assert unsure.low < 0 < unsure.high
    assert gain([1, 0, 1, 0], [0, 1, 0, 1]) == unsure


def test_records_come_back_from_the_file_as_they_were(tmp_path):
    """A file that was cut off in a line goes on after the last whole one."""
    from candidates import Records

    path = tmp_path / "candidates.jsonl"
    Records(path).add(record("on the roof"))
    with path.open("ab") as file:
        file.write(b'{"settings": "s", "se')

    again = Records(path)
    again.add(record("in the cellar", 1))

    assert Records(path).all() == [record("on the roof"), record("in the cellar", 1)]
    assert ("s", "q", "diversity", 1) in again


def test_an_equal_prompt_is_not_answered_again(tmp_path):
    """Of two equal prompts under the same settings the second takes the answer of the first."""
    from candidates import Records

    records = Records(tmp_path / "candidates.jsonl")
    records.add(record("on the roof", prompt="same"))

    assert records.like("s", "same") == record("on the roof", prompt="same")
    assert records.like("other settings", "same") is None
    assert records.like("s", "another") is None


def test_equal_prompts_are_walked_once():
    """As in the gateway at temperature 0, paths with one prompt are one path."""
    from questions import Question
    from replaying import cases_of

    question = Question(id="q", doc="d", lang="en", kind="lookup", question="?", answer=("a",))
    prompts = ("one", "other", "one", "third")
    records = [record(str(at), at, prompt=prompt) for at, prompt in enumerate(prompts)]

    [found] = cases_of(records, {"q": ("public", question)})

    assert [each.index for each in found.walked("diversity", 4)] == [0, 1, 3]
    assert [each.index for each in found.walked("diversity", 3)] == [0, 1]
    assert found.walked("diversity", 5) == []


async def test_a_synthesizer_is_replayed_without_a_model():
    """What it wants the model to write fails as a backend does, and is told."""
    from replaying import replay

    asked = case("roof", "on the red roof", "x")

    outcome = await replay(Longest(), asked, asked.paths["diversity"])

    assert outcome.text == "on the red roof"
    assert outcome.wrote
    assert (outcome.walked, outcome.seconds, outcome.tokens) == (3, 6.0, 330)


async def test_paths_end_when_the_answer_is_settled():
    """With gate and early stop only the paths walked until then cost and count."""
    from replaying import replay_settling

    asked = case("roof", "on the red roof", "on the very red roof", "x")

    outcome = await replay_settling(Longest(), asked, asked.paths["diversity"])

    assert (outcome.walked, outcome.text) == (2, "on the red roof")


def test_times_are_evened_out():
    """What a busy moment added to one answer is shared by all that read and wrote as much."""
    from replaying import evened

    records = [
        record("a", seconds=1.0),
        record("b", 1, seconds=3.0),
        record("c", 2, prompt_tokens=300, seconds=6.0),
    ]

    assert [each.seconds for each in evened(records)] == pytest.approx([2.0, 2.0, 6.0])


async def test_the_report_compares_with_one_path():
    """The tables tell the gain over one path, with its interval, and what an oracle would choose."""
    from comparing import report, run_all

    cases = [case("cellar", "on the roof", "x", "y", "z")]

    shown = report(cases, await run_all(cases, {"longest": Longest()}))

    assert "| one path | 0.0 / 0.0 / 0.0 | 0.0 / 0.0 / 0.0 |" in shown
    assert "| best of 4, diversity | 100.0 / 100.0 / 100.0 |" in shown
    assert "| diversity, longest | **+100.0 (+100.0 to +100.0)** |" in shown
    assert "| diversity, longest | 2.00 | 0 % | 2.00 | 2.00 |" in shown


def test_paragraphs_are_strewn_the_same_way_always():
    """Every paragraph stands whole in the long text, at the same place on every run."""
    from xquad import Paragraph, strewn

    paragraphs = [Paragraph(context=f"Paragraph {number}.", qas=()) for number in range(5)]
    text = "\n\n".join(f"Long text {number}." for number in range(50))

    mixed = strewn(paragraphs, text)

    assert mixed == strewn(paragraphs, text)
    assert sorted(mixed.split("\n\n")) == sorted([each.context for each in paragraphs] + text.split("\n\n"))


def test_questions_without_an_answer_count_only_where_they_are_meant_to():
    """What is asked of a text that lacks the answer has no part in the gains."""
    from comparing import Run, _only
    from replaying import Outcome

    asked = case("cellar")
    outcome = Outcome(text="", score=asked.score(""), walked=1, seconds=0, tokens=0)
    run = Run(
        sampler="s", synthesizer="s", paths=4, settling=False, outcomes={"q": outcome, "other": outcome}
    )

    assert [set(each.outcomes) for each in _only([run], [asked])] == [{"q"}]
    assert _only([run], []) == []


def test_the_right_passage_is_the_paragraph_that_holds_the_evidence():
    """The paragraphs of all evidence are found, each once, white space in the evidence aside."""
    from answering import paragraphs_of
    from questions import Question

    text = "First one.\n\nThe cat\nsleeps on the roof. It purrs.\n\nThe dog barks.\n\nLast."
    question = Question(
        id="q",
        doc="d",
        lang="en",
        kind="multi",
        question="?",
        evidence=("cat sleeps", "It purrs", "dog barks"),
    )

    assert [text[start:end] for start, end in paragraphs_of(text, question)] == [
        "The cat\nsleeps on the roof. It purrs.",
        "The dog barks.",
    ]


async def test_every_path_is_asked_over_a_stored_text(tmp_path, speech):
    """The gateway's own parts make the prompts of all paths and have them answered, into the file."""
    from answering import asking
    from candidates import PATHS, Records
    from questions import Question

    config = {"llm": {"type": "dummy"}, "rag": {"path": str(tmp_path / "store")}}
    question = Question(id="q", doc="speech", lang="en", kind="lookup", question="Which islands?")
    records = Records(tmp_path / "mpr.jsonl")

    async with asking(config, ["cutoff"], 0.0) as open_:
        await open_.store({"speech": speech})
        packs = await open_.packs(question, "cutoff")
        record = await open_.answer(packs[1], question, "public", ("dummy", "q", "cutoff", 1), records)

    assert len(packs) == PATHS
    assert record.passages == packs[1].passages != ()
    assert record.text
