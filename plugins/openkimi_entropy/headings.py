"""Recognises the line that is a heading, and how high it stands.

A rank orders headings, the smaller the higher. The scale is: parts, chapters, sections by name, Roman
numbers, capitals (where they come before any number), Chinese numbers, decimal numbers by their depth, and
last of all lines that merely look like a title.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from openkimi_entropy.scripts import CJK, count_cjk

PART, CHAPTER, SECTION, ROMAN, CAPITALS, CJK_NUMBER, CJK_BRACKET, NUMBER = 0, 1, 2, 3, 4, 5, 6, 6
LATE_CAPITALS, TITLE = 20, 21
TOP_MARKDOWN = -9
MARKDOWN = 39
"""Added to a Markdown rank (-9 to -4) where numbers came first."""
LONGEST = 120
"""The most characters of a line that can be a heading."""

Family = Literal["markdown", "name", "number", "capitals", "title"]


class Heading(NamedTuple):
    """A heading: its text without marks, its rank and what gave it away."""

    title: str
    rank: int
    family: Family


_MARKDOWN = re.compile(r"(?P<marks>#{1,6})[ \t]+(?P<title>\S.*?)[ \t]*#*")
_NUMERAL = (
    r"(?:\d{1,3}|[IVXLC]{1,8}|[A-Z]|(?i:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve))"
)
_NAMED = re.compile(
    r"(?:(?P<part>(?i:part|book|volume))|(?P<chapter>(?i:chapter|appendix|lecture|act))"
    rf"|(?P<section>(?i:section|scene)))\s+{_NUMERAL}(?:\s*[.:—–-]+\s*|\s+(?=[\"“'A-Z0-9{CJK}])|$)(?P<rest>.*)"
)
_CHINESE = re.compile(
    r"第\s*[0-9０-９零〇一二三四五六七八九十百千两]+\s*(?:(?P<part>[卷部编編篇册冊])|(?P<chapter>[章回集讲講])|(?P<section>[节節]))"
    r"(?:[\s：:·、.—-]+(?P<rest>.*)|(?P<tight>.*))"
)
_PARAGRAPH_SIGN = re.compile(r"§+\s*\d{1,4}[a-z]?(?:\.\d+)*[.:]?(?:\s+\S.*)?")
_ROMAN = re.compile(r"(?:[IVX]|[IVXLC]{2,7})[.)]\s+[\"“'A-Z].*")
_CHINESE_NUMBER = re.compile(r"[一二三四五六七八九十]{1,3}[、．]\s*\S.*")
_CHINESE_BRACKET = re.compile(r"[（(][一二三四五六七八九十]{1,3}[）)]\s*\S.*")
_NUMBER = re.compile(
    r"(?P<number>\d{1,3}(?:\.\d{1,2}){0,5}|[A-Z](?:\.\d{1,2}){1,5})(?P<dot>[.．、)]?)(?P<space>\s*)(?P<title>\S.*)"
)
_UNDERLINE = re.compile(r"(?:={3,}|-{3,})")
_CONTENTS_ENTRY = re.compile(r"(?:\.{3,}|…+|(?:\s\.){3,}|\s{3,}|\t)\s*\d+$")
_UNFINISHED = re.compile(r"[.。．；;，,：:、…—-]$")
_NOT_A_TITLE = re.compile(
    r"^\d[\d.,]*\s+[a-z]|^[a-z\-*+•·|>$%@~=<{(\[#→/\\]|://|[={};|<>@]|[.!?]\s|[，。；！？…]|[.!?,;:：]$"
)


def read_heading(line: str, *, below: str, after_blank: bool, before_blank: bool) -> Heading | None:
    """Read a line as a heading that needs no look at the text under it, None when it is none.

    ``below`` is the next line. Blank lines around it are told by the last two arguments.
    """
    if len(line) > LONGEST or _CONTENTS_ENTRY.search(line):
        return None
    apart = after_blank and before_blank
    if after_blank and not before_blank and _UNDERLINE.fullmatch(below):
        return Heading(line, TOP_MARKDOWN + (below[0] == "-"), "markdown")
    if line[0] == "#":
        return _markdown(line, after_blank=after_blank, before_blank=before_blank)
    if line[0] == "§" and _PARAGRAPH_SIGN.fullmatch(line) and not _UNFINISHED.search(line):
        return Heading(line, SECTION, "name")
    named = _named(line, apart=apart, touching=after_blank or before_blank)
    return named or _numbered(line, after_blank=after_blank) or _capitals(line, after_blank=after_blank)


def read_title(line: str, *, below: str) -> Heading | None:
    """Read a line between blank ones as a plain title; ``below`` has to look like the text it heads."""
    if count_cjk(line):
        fits = len(line) + 2 * count_cjk(line) <= 80 and len(below) >= len(line) + 15
    else:
        fits = len(line) <= 80 and len(line.split()) <= 12 and len(below) >= len(line) + 60
    if not fits or len(line) < 2 or not _is_wordy(line) or _NOT_A_TITLE.search(line):
        return None
    return Heading(line, TITLE, "title")


def underlined(heading: Heading, line: str, below: str) -> bool:
    """Tell whether a heading was read from the row of signs under its line."""
    return heading.family == "markdown" and line[0] != "#" and _UNDERLINE.fullmatch(below) is not None


def continues(heading: Heading, line: str) -> bool:
    """Tell whether a line right under a heading in capitals is its second half."""
    return heading.title.isupper() and len(line) <= LONGEST and _is_capitals(line) and line[0].isalpha()


def _markdown(line: str, *, after_blank: bool, before_blank: bool) -> Heading | None:
    found = _MARKDOWN.fullmatch(line)
    if found is None or not (after_blank or before_blank):
        return None
    depth, title = len(found["marks"]), found["title"]
    # A shell prompt of root looks like a first-level heading, a commented setting like any.
    if title[0].islower() and not (depth > 1 and after_blank and before_blank):
        return None
    return Heading(title, TOP_MARKDOWN + depth - 1, "markdown")


def _named(line: str, *, apart: bool, touching: bool) -> Heading | None:
    found = _NAMED.fullmatch(line)
    if found and touching and not _UNFINISHED.search(found["rest"]):
        return Heading(line, _name_rank(found), "name")
    found = _CHINESE.fullmatch(line)
    if found and (apart or not found["tight"]) and len(line) <= 40 and not re.search("[。；，！？…]$", line):
        return Heading(line, _name_rank(found), "name")
    return None


def _name_rank(found: re.Match[str]) -> int:
    if found["part"]:
        return PART
    return CHAPTER if found["chapter"] else SECTION


def _numbered(line: str, *, after_blank: bool) -> Heading | None:
    if _UNFINISHED.search(line):
        return None
    if after_blank and _ROMAN.fullmatch(line):
        return Heading(line, ROMAN, "number")
    if len(line) <= 40 and not re.search("[，。！？]", line):
        if _CHINESE_NUMBER.fullmatch(line):
            return Heading(line, CJK_NUMBER, "number")
        if _CHINESE_BRACKET.fullmatch(line):
            return Heading(line, CJK_BRACKET, "number")
    found = _NUMBER.fullmatch(line)
    if found is None or not _numbers_a_title(found, after_blank=after_blank):
        return None
    return Heading(line, NUMBER + found["number"].count(".") + 1, "number")


def _numbers_a_title(found: re.Match[str], *, after_blank: bool) -> bool:
    """Tell "12.1. RAID" and "3 Results" from "3.5 million" and "2 8 64 1 active"."""
    first, deep = found["title"][0], "." in found["number"]
    if count_cjk(first):
        return after_blank or deep
    if not found["space"]:
        return False
    if deep:
        return first.isupper() or (first.isalpha() and bool(found["dot"]))
    return after_blank and first.isupper() and ". " not in found["title"]


def _capitals(line: str, *, after_blank: bool) -> Heading | None:
    return Heading(line, CAPITALS, "capitals") if after_blank and _is_capitals(line) else None


def _is_capitals(line: str) -> bool:
    return (
        line.isupper()
        and re.search(r"[A-Z]{3}", line) is not None
        and re.search(r"[.,;:!/\\]$|[=|{}$_]", line) is None
        and _is_wordy(line)
        and count_cjk(line) == 0
    )


def _is_wordy(line: str) -> bool:
    return 5 * sum(character.isalpha() for character in line) >= 3 * len(line)
