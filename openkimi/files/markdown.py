"""HTML as Markdown: its words, headings, lists and tables, and nothing that only a browser needs."""

from __future__ import annotations

import re
from typing import Any

_UNSEEN = ("head", "script", "style", "template", "noscript", "svg", "iframe", "nav")
_INLINE = ["a", "b", "strong", "i", "em", "u", "s", "del", "sub", "sup", "code"]
"""What is dropped around a text that stays: a model and a search are better off without the marks."""

_GAPS = re.compile(r"\n\s*\n")


def markdown_of(html: str) -> str:
    """Convert a page; its title becomes the first heading where the page has none of that rank."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for element in soup(_UNSEEN):
        element.decompose()
    for image in soup("img"):
        image.replace_with(str(image.get("alt") or ""))
    text = _convert(soup)
    return f"# {title}\n\n{text}" if title and soup.h1 is None else text


def _convert(soup: Any) -> str:
    from markdownify import MarkdownConverter

    converter = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=_INLINE,
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
    )
    return _GAPS.sub("\n\n", converter.convert_soup(soup)).strip() + "\n"
