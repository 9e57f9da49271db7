"""The terms of lexical search, and the arithmetic of ranking."""

from __future__ import annotations

import numpy as np
import pytest

from openkimi_lancedb.ranking import fuse, lexical_weight, peak, ranked, windowed
from openkimi_lancedb.stemming import stem
from openkimi_lancedb.terms import Vocabulary, query_terms


def terms(text: str, *headings: str) -> list[str]:
    return Vocabulary().document_terms(headings, text)


@pytest.mark.parametrize(
    "forms",
    [
        ["partition", "partitions", "partitioned", "partitioning"],
        ["configure", "configures", "configured", "configuring"],
        ["policy", "policies"],
        ["apply", "applies", "applied", "applying"],
        ["stop", "stops", "stopped", "stopping"],
        ["box", "boxes"],
        ["service", "services"],
        ["tie", "ties"],
    ],
    ids=lambda forms: forms[0],
)
def test_the_forms_of_a_word_share_a_stem(forms: list[str]) -> None:
    """What differs only by a common English ending is found by any of its forms."""
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize("word", ["string", "class", "status", "need", "red", "thing", "2048", "été"])
def test_words_that_only_look_inflected_are_left_alone(word: str) -> None:
    """Short words, numbers and other alphabets keep their letters."""
    assert stem(word) == word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--assume-clean", {"assum", "clean", "assume-clean", "--assume-clean"}),
        ("/etc/network/interfaces.", {"etc", "network", "interfac", "/etc/network/interfaces"}),
        ("Linux 2.6.32-5", {"linux", "2.6.32-5"}),
        ("1,300,000 workers", {"1300000", "worker"}),
        ("EASYRSA_REQ_CITY", {"easyrsa_req_city", "city"}),
        ("Saint-Étienne", {"saint", "etienn", "saint-etienne"}),
        ("ＤＨＣＰ", {"dhcp"}),
        ("the company's C++", {"company", "c++"}),
    ],
)
def test_names_are_found_whole_and_in_parts(text: str, expected: set[str]) -> None:
    """Flags, paths, versions, numbers and compounds keep their whole form beside their parts."""
    assert expected <= set(terms(text))


def test_chinese_gives_characters_and_pairs() -> None:
    """Text without spaces is found by its characters and by each two neighbours."""
    assert terms("文件系统 ext4") == ["文", "件", "系", "统", "文件", "件系", "系统", "ext4"]


def test_headings_count_twice() -> None:
    """A word of the heading path weighs as two in the text."""
    assert terms("one", "Backup").count("backup") == 2


def test_stop_words_are_not_searched_for() -> None:
    """Function words of a question are dropped in English and Chinese."""
    assert query_terms("What is the default file system?") == ["default", "fil", "system"]
    assert query_terms("什么是备份") == ["备", "份", "是备", "备份"]


def test_a_question_of_stop_words_keeps_them() -> None:
    """Where nothing else is left the stop words are what was asked for."""
    assert query_terms("Who is who?") == ["who", "is"]


def test_terms_of_a_question_come_once_and_are_bounded() -> None:
    """A long question makes a bounded search."""
    many = query_terms(" ".join(f"word{number} word{number}" for number in range(5000)))

    assert len(many) == len(set(many)) == 256


def test_a_chunk_among_hits_gains_on_one_alone() -> None:
    """Of two chunks with the same score the one whose neighbours match too comes first."""
    found = np.zeros(30)
    found[[3, 20, 21, 22]] = (5.0, 5.0, 4.0, 4.0)
    scores = windowed(found)

    assert scores[20] > scores[3] > 5.0
    assert not scores[[2, 19, 29]].any()


def test_a_score_stands_out_of_the_crowd() -> None:
    """One passage far before the others has a peak; many alike have none."""
    assert peak([]) == 0.0
    assert peak([3.0]) == 1.0
    assert peak([3.0] * 20) == 0.0
    assert peak([4.0, *[1.0] * 20]) == 0.75


def test_words_are_trusted_where_they_tell() -> None:
    """A quotation, or known words that stand out, decide; a paraphrase and another language do not."""
    assert lexical_weight(1.0, 0.0, 1.0) == lexical_weight(0.1, 1.0, 1.0) == 2.0
    assert lexical_weight(0.1, 0.2, 0.9) < 1.0
    assert lexical_weight(0.1, 1.0, 0.1) < 1.0


def test_fusion_adds_reciprocal_ranks() -> None:
    """A place in both rankings beats a better place in one of them."""
    scores = fuse([(["a", "b"], 1.0), (["c", "b"], 1.0)], k=10)

    assert scores["b"] == pytest.approx(2 / 12)
    assert ranked(scores, str) == ["b", "a", "c"]
