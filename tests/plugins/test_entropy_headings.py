"""Headings and the path that they make."""

from __future__ import annotations

import pytest

from openkimi_entropy.placing import place_lines

PROSE = (
    "This paragraph goes on for a while, so that nobody takes it for a title. It has two sentences of some "
    "length, and ends as sentences do."
)
PROSE_ZH = "这一段文字足够长，没有人会把它当作标题。它有两个句子，并且像句子那样结束。"


def paths(text: str) -> list[tuple[str, ...]]:
    """List the distinct paths of the lines that are no headings, in order."""
    found = [placed.path for placed in place_lines(text, lambda: None) if not placed.is_heading]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"# One\n\n{PROSE}\n\n## Two\n{PROSE}", [("One",), ("One", "Two")]),
        (f"One\n===\n\n{PROSE}\n\nTwo\n---\n{PROSE}", [("One",), ("One", "Two")]),
        (
            f"Chapter 12. Advanced\n\n12.1. RAID and LVM\n\n{PROSE}\n\n"
            f"12.1.2. LVM\n\n{PROSE}\n\n12.2. Xen\n\n{PROSE}",
            [
                ("Chapter 12. Advanced", "12.1. RAID and LVM"),
                ("Chapter 12. Advanced", "12.1. RAID and LVM", "12.1.2. LVM"),
                ("Chapter 12. Advanced", "12.2. Xen"),
            ],
        ),
        (f"12.1.3. RAID or LVM?\n\n{PROSE}", [("12.1.3. RAID or LVM?",)]),
        (
            f"第 12 章 高级管理\n\n12.1. RAID 和 LVM\n\n{PROSE_ZH}\n\n12.2. 虚拟化\n\n{PROSE_ZH}",
            [("第 12 章 高级管理", "12.1. RAID 和 LVM"), ("第 12 章 高级管理", "12.2. 虚拟化")],
        ),
        (
            f"第三回　贾雨村夤缘复旧职\n{PROSE_ZH}\n第四回　薄命女偏逢薄命郎\n{PROSE_ZH}",
            [("第三回　贾雨村夤缘复旧职",), ("第四回　薄命女偏逢薄命郎",)],
        ),
        (
            f"一、总则\n{PROSE_ZH}\n（一）目的\n{PROSE_ZH}\n二、细则\n{PROSE_ZH}",
            [("一、总则",), ("一、总则", "（一）目的"), ("二、细则",)],
        ),
        (f"§ 4 Definitions\n\n{PROSE}", [("§ 4 Definitions",)]),
        (f"II. THE PROGRAM\n\nFOREIGN AFFAIRS\n\n{PROSE}", [("II. THE PROGRAM", "FOREIGN AFFAIRS")]),
        (f"THE YEAR OF\nDECISION\n\n{PROSE}", [("THE YEAR OF DECISION",)]),
        (f"{PROSE}\n\nBACK TO BASICS IP packet\n\n{PROSE}", [(), ("BACK TO BASICS IP packet",)]),
        (f"{PROSE_ZH}\n\n线性阵列\n\n{PROSE_ZH}", [(), ("线性阵列",)]),
        (f"## One\r\n\r\n{PROSE}\r\n\r\n## Two\r\n\r\n{PROSE}", [("One",), ("Two",)]),
        (f"A.2. Ubuntu\n\n{PROSE}", [("A.2. Ubuntu",)]),
    ],
)
def test_styles(text: str, expected: list[tuple[str, ...]]) -> None:
    """Markdown, underlines, numbers, names, capitals and plain titles, English and Chinese, make a path."""
    assert paths(text) == expected


@pytest.mark.parametrize(
    "line",
    [
        "3.5 million people lived there",
        "2 8 64 1 active sync /dev/sdf",
        "192.168.0.1 gateway",
        "To the Congress of the United States:",
        "He went home.",
        "# mkdir /srv/backups",
        "- an item",
        "https://example.org/a/page",
        "在本书里面，我们只专注于软 RAID。",
        "创建 RAID-1 的方式十分类似，仅在创建后有明显差异：",
        "Excess of expenditures 28,620 4,347",
        "1.2. Something ........ 17",
        "x = {1: 2};",
        "第三章的内容是这样的，请看下面。",
    ],
)
def test_lines_that_are_no_headings(line: str) -> None:
    """Prose, figures, addresses, commands and lists are no headings, even between blank lines."""
    assert paths(f"{PROSE}\n\n{line}\n\n{PROSE}") == [()]


CONTENTS = (
    "12.1. RAID\n12.1.1. Software RAID\n12.1.2. LVM\n\n12.2. Virtualization\n12.2.1. Xen\n\n12.3. Monitoring"
)


def test_contents_are_text() -> None:
    """A table of contents opens no sections; the text after it and the real headings keep their paths."""
    text = f"Chapter 12. Advanced\n\n{CONTENTS}\n\n{PROSE}\n\n12.1. RAID\n\n{PROSE}"

    assert paths(text) == [("Chapter 12. Advanced",), ("Chapter 12. Advanced", "12.1. RAID")]


def test_contents_right_before_the_first_section() -> None:
    """The first heading after a table of contents is one although it repeats an entry."""
    assert paths(f"{CONTENTS}\n\n12.1. RAID\n\n{PROSE}") == [(), ("12.1. RAID",)]


def test_fenced_code_has_no_headings() -> None:
    """What looks like a heading inside fenced code is code; a fence never closed hides nothing."""
    assert paths(f"# One\n\n```\n\n## not this\n\n```\n\n{PROSE}") == [("One",)]
    assert paths(f"# One\n\n```\n\n## Two\n\n{PROSE}") == [("One",), ("One", "Two")]


def test_comments_in_a_numbered_text_are_no_headings() -> None:
    """In a text with numbered sections, ``# `` starts a comment or a root prompt."""
    assert paths(f"1.1. Setup\n\n{PROSE}\n\n# Stable updates\n\n{PROSE}") == [("1.1. Setup",)]


def test_steps_in_a_markdown_text_stand_below_its_headings() -> None:
    """In a Markdown text a numbered title does not close the heading above it."""
    assert paths(f"## Use\n\n1. Start\n\n{PROSE}\n\n## End\n\n{PROSE}") == [("Use", "1. Start"), ("End",)]
