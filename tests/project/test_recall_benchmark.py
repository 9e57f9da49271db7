"""The benchmark of evidence recall measures what it says, shown on texts of a few lines."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (
    "The cat sleeps on the warm roof. " * 30 + "The key lies under the third stone.\n\n" + "It rains. " * 80
)
CHINESE = "今天天气很好。" * 60 + "钥匙在第三块石头下面。" + "外面正在下雨。" * 60


pytestmark = pytest.mark.usefixtures("benchmarks")


def letters(texts):
    return np.array([[text.count(letter) for letter in "abcdefgh"] for text in texts], np.float32)


def question(**values):
    from questions import Question

    shared = {"id": "q", "doc": "text", "lang": "en", "kind": "lookup", "question": "Where lies the key?"}
    return Question(**{**shared, **values})


def test_evidence_is_found_whatever_the_white_space():
    """Evidence counts when all of it is in the prompt; line breaks and blanks do not matter."""
    from questions import holds

    assert holds("under\n the  third\tstone", ["the third stone", "under the"])
    assert not holds("under the third stone", ["third stone", "fourth stone"])


def test_evidence_that_the_text_lacks_is_reported(capsys):
    """A question whose evidence is not in its text is left out, and named; so are absent ones, silently."""
    from questions import usable

    good = question(id="good", evidence=["the third stone"])
    asked = [good, question(id="bad", evidence=["the fourth stone"]), question(id="none", kind="absent")]

    assert usable(asked, {"text": TEXT}) == [good]
    assert "bad is left out" in capsys.readouterr().out


def test_the_public_questions_fit_the_speech():
    """Every question on the speech of the repository has its evidence in it."""
    import questions
    import texts

    asked = [each for each in questions.load(questions.PUBLIC) if each.doc == texts.SPEECH and each.evidence]

    assert len(asked) == 15
    assert questions.usable(asked, texts.find([texts.SPEECH], None)) == asked


@pytest.mark.parametrize("text", [TEXT, CHINESE])
def test_chunks_are_the_text(text):
    """Chunks are cut at sentence ends, have 600 Latin letters or 200 Chinese ones, and leave nothing out."""
    from plain import chunks_of

    chunks = chunks_of(text)

    assert "".join(chunks) == text
    assert len(chunks) > 2
    assert max(map(len, chunks)) <= (600 if text is TEXT else 200)
    assert all(chunk.rstrip().endswith((".", "。")) for chunk in chunks)


def test_bm25_finds_the_obvious():
    """The passage with the question's rare words comes first; Chinese needs pairs of characters."""
    from plain import Bm25, chunks_of, ranked, words, words_and_pairs

    english, chinese = chunks_of(TEXT), chunks_of(CHINESE)

    assert "third stone" in english[ranked(Bm25(english, words)("the third stone"))[0]]
    assert "钥匙" in chinese[ranked(Bm25(chinese, words_and_pairs)("钥匙在哪里？"))[0]]
    assert not Bm25(chinese, words)("钥匙在哪里？").any()


def test_plain_prompts_keep_to_the_budget():
    """The best chunks that fit are taken and stand in the order of the text."""
    from plain import Plain

    from openkimi_openai.estimate import Estimate
    from openkimi_openai.options import CharactersPerToken

    ways = Plain(TEXT, letters)
    rankings = ways.rankings("Where is the third stone?")
    prompt = ways.prompt(rankings["BM25, words and CJK pairs"], 320)

    assert "third stone" in prompt
    assert Estimate(CharactersPerToken()).text(prompt) <= 320
    assert "third stone" not in ways.prompt(rankings["head of the text"], 160)


def test_the_table_is_markdown():
    """A row has the share of questions that were held, at each budget."""
    from outcomes import Outcome, beside, table

    outcomes = [
        Outcome(method=method, budget=budget, question=question(id=name), held=held)
        for method, budget, name, held in [
            ("all", 500, "a", True),
            ("all", 500, "b", False),
            ("all", 1000, "a", True),
            ("less", 500, "a", False),
            ("less", 500, "b", True),
            ("less", 1000, "a", True),
        ]
    ]

    assert table(outcomes, "Method", lambda each: each.method, beside(outcomes, "all")).splitlines() == [
        "| Method | 500 | 1,000 |",
        "|---|---|---|",
        "| all | 0.50 | 1.00 |",
        "| less | 0.50 (+1 −1) | 1.00 |",
    ]


def test_pages_become_paragraphs():
    """Markup goes, blocks become paragraphs, items lines, and preformatted text keeps its lines."""
    from texts import text_of

    head, items = "<head><title>T</title></head><h1>1</h1>", "<ul><li>a <b>b</b></li><li>c</li></ul>"

    assert text_of(f"{head}{items}<p>d\ne</p><pre>f\n g</pre>") == "1\n\na b\nc\n\nd e\n\nf\n g"


def test_every_ablation_names_a_place_that_exists():
    """What an ablation changes is there under that name, and is put back afterwards."""
    from ablations import changed, variants

    for variant in variants():
        with changed({**variant.places, **variant.restored}):
            pass
