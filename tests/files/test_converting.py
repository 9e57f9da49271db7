"""Files become texts with their headings and paragraphs, and what is wrong with one is told in a line."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from filemaking import Placed, docx, pdf

from openkimi import BackendUnavailable, UnreadableFile, UnsupportedFile
from openkimi.files import child, converting
from openkimi.files.converting import Converter

TITLE = (20, 72, 770, "The Lighthouse")
BODY = [
    (12, 72, 740, "The lighthouse of Orrin belongs to Marta Veil, who"),
    (12, 72, 726, "bought it from the harbour board in a year of storms"),
    (12, 72, 712, "and painted it red."),
    (12, 72, 690, "A second paragraph stands here."),
]
CHINESE = [
    (16, 72, 700, "灯塔的历史"),
    (12, 72, 680, "灯塔属于玛塔·维尔，她在一个多风暴的年份"),
    (12, 72, 666, "从港务局买下了它。"),
]


def foot(number: int) -> Placed:
    return (12, 280, 20, f"Page {number}")


async def text_of(data: bytes, **options: str) -> str:
    return await Converter().text_of(data, **options)


async def test_a_pdf_has_its_headings_and_its_paragraphs_again() -> None:
    """Large letters are headings, lines are joined, Chinese ones without a space."""
    text = await text_of(pdf([TITLE, *BODY], CHINESE))

    assert text == (
        "# The Lighthouse\n\n"
        "The lighthouse of Orrin belongs to Marta Veil, who bought it from the harbour board in a year of "
        "storms and painted it red.\n\n"
        "A second paragraph stands here.\n\n"
        "## 灯塔的历史\n\n"
        "灯塔属于玛塔·维尔，她在一个多风暴的年份从港务局买下了它。\n"
    )


async def test_a_long_pdf_keeps_every_word(speech: str) -> None:
    """The words of 46 pages come back in their order, their numbers and feet left out."""
    text = await text_of((Path(__file__).parents[1] / "data/truman-1946.pdf").read_bytes())

    words, wanted = ("".join(filter(str.isalnum, each)) for each in (text, speech))
    assert words == wanted


async def test_a_heading_of_two_lines_is_one(speech: str) -> None:
    """Large letters on the next line go on with it, on a line further down they do not."""
    page = [(20, 72, 770, "The Lighthouse"), (20, 72, 748, "of Orrin"), (20, 72, 700, "Part One"), BODY[3]]

    text = await text_of(pdf([*page, (12, 72, 676, "More of it.")]))

    assert text.startswith("# The Lighthouse of Orrin\n\n# Part One\n\n")


async def test_the_outline_of_a_pdf_names_headings_of_any_size() -> None:
    """A title of the outline is a heading on the page that it leads to."""
    page = [*BODY, (12, 72, 660, "1 History"), (12, 72, 640, "It was built by hand.")]

    assert "\n\n# 1 History\n\nIt was built" in await text_of(pdf(page, outline=[("1 History", 0)]))
    assert "# 1 History" not in await text_of(pdf(page))


async def test_what_stands_on_every_page_of_a_pdf_is_left_out() -> None:
    """Running heads and page numbers are no text; a paragraph goes on over the page's end."""
    cut, rest = BODY[:2], BODY[2:]
    pages = [[TITLE, *cut, foot(1)], [(12, 72, 740, "and painted it blue."), foot(2)], [*rest, foot(3)]]

    text = await text_of(pdf(*pages))

    assert "Page" not in text
    assert "in a year of storms and painted it blue." in text


async def test_a_docx_has_its_headings_also_those_of_chinese_styles() -> None:
    """Word's own styles and the names that Chinese versions give them become Markdown headings."""
    text = await text_of(
        docx(
            ("Title", "The Book"), ("heading 1", "One"), ("", "Of Marta."), ("标题 2", "第二节"), ("", "灯塔")
        )
    )

    assert text == "# The Book\n\n# One\n\nOf Marta.\n\n## 第二节\n\n灯塔\n"


async def test_html_becomes_markdown_without_what_only_browsers_need() -> None:
    """Headings, lists and tables stay; scripts, styles and navigation do not; the title is a heading."""
    page = (
        "<title>The page</title><style>p{}</style><nav>Home</nav><h2>Part_one</h2><p>Of <b>Marta</b> and "
        "<a href='x'>Veil</a>.<ul><li>red<li>blue</ul><table><tr><th>k<th>v<tr><td>1<td>2</table>"
        "<script>alert(1)</script>"
    )

    assert await text_of(page.encode(), media_type="text/html") == (
        "# The page\n\n## Part_one\n\nOf Marta and Veil.\n\n- red\n- blue\n\n"
        "| k | v |\n| --- | --- |\n| 1 | 2 |\n"
    )


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
@pytest.mark.parametrize("declared", ["<meta charset=gb2312>", "<meta charset=ascii>", ""])
async def test_html_is_read_in_the_charset_that_it_names_or_has(declared: str, encoding: str) -> None:
    """A page in UTF-8 or GBK is read, whether it says so, says something else, or nothing."""
    page = f"<html><head>{declared}</head><body><p>灯塔属于玛塔·维尔，她在多风暴的年份买下了它。</p>"

    assert "灯塔属于玛塔·维尔" in await text_of(page.encode(encoding), name="page.html")


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ("灯塔属于玛塔。".encode("gb18030"), ""),
        ("灯塔属于玛塔。".encode("gb18030"), "gb2312"),
        ("灯塔属于玛塔。".encode("utf-8-sig"), ""),
        ("灯塔属于玛塔。".encode("utf-16"), ""),
        ("灯塔属于玛塔。".encode("big5", "ignore") + "燈塔屬於瑪塔。".encode("big5"), "big5"),
    ],
    ids=["GB18030", "named", "mark", "UTF-16", "Big5"],
)
async def test_texts_are_read_in_the_charset_they_have(data: bytes, charset: str) -> None:
    """UTF-8 is the rule; other charsets are told by their mark, by name, or by their look."""
    assert "瑪塔" in (await text_of(data, name="a.txt", charset=charset)).replace("玛", "瑪")


async def test_markdown_stays_as_it_is() -> None:
    """Nothing of a text that needs no conversion is touched."""
    text = "# One\r\n\r\n* a_b_c *\n\n\n\nend  "

    assert await text_of(text.encode(), name="a.md") == text


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (pdf(BODY, encrypted=True), {}, "encrypted: save it without a password"),
        (pdf([]), {}, "has no text, only pictures"),
        (pdf(BODY)[:300], {}, "the PDF is damaged"),
        (docx(("", "灯塔" * 50))[:200], {"name": "a.docx"}, "the DOCX file is damaged"),
        (docx(("", "x"), extra=300 * 2**20), {}, "unpacks to more than"),
        (docx(("", "")), {}, "the file has no text"),
        (b"<div>" * 100_000, {"name": "a.html"}, "nested too deeply"),
        (b" \n", {"name": "a.txt"}, "the file has no text"),
        ("灯塔".encode(), {"charset": "ascii"}, "not in ascii"),
        (b"x", {"charset": "no-such"}, "the charset 'no-such' is not known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_read_is_told(data: bytes, options: dict[str, str], message: str) -> None:
    """A locked, scanned, damaged, hostile or empty file ends with a line that says so."""
    with pytest.raises(UnreadableFile, match=message):
        await text_of(data, **options)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"\x89PNG\r\n\0\0", {"name": "a.png"}, "'.png' is not read here: send text, Markdown"),
        (b"\0\1\2", {}, "this type is not read"),
        (b"a\0b", {"name": "a.txt"}, "the file holds binary data and is no text"),
        (b"a\0b", {"name": "a.md", "media_type": "text/plain"}, "holds binary data and is no text"),
        (b"a\0b", {"name": "a.csv", "media_type": "text/csv"}, "holds binary data and is no text"),
        (b"PK\x03\x04xl/workbook.xml", {"name": "a.xlsx"}, "'.xlsx' is not read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), {"name": "a.doc"}, "save it as .docx"),
        (b"{\\rtf1 Hello}", {"name": "a.rtf"}, "save it as .docx"),
        (b"GIF", {"media_type": "image/gif"}, "'image/gif' is not read"),
    ],
)
async def test_other_formats_are_refused_by_name(data: bytes, options: dict[str, str], message: str) -> None:
    """What is no document, or one of a format without a converter, is refused with what is read instead."""
    with pytest.raises(UnsupportedFile, match=message):
        await text_of(data, **options)


@pytest.mark.parametrize("kind", ["text/csv", "application/json", "application/atom+xml", "application/yaml"])
async def test_what_is_text_under_another_type_is_read(kind: str) -> None:
    """Tables, data and programs are stored as the texts that they are, also one that tells of %PDF-1.7."""
    assert await text_of(b"a,b: %PDF-1.7", media_type=kind) == "a,b: %PDF-1.7"


async def test_a_missing_extra_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the converters texts are read all the same."""
    monkeypatch.setattr(converting.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UnsupportedFile, match=r"pip install 'openkimi\[files\]'"):
        await text_of(pdf(BODY))
    assert await text_of(b"# One") == "# One"


async def test_a_format_is_told_by_its_content_before_its_name() -> None:
    """A PDF under a wrong name is read as what it is."""
    assert "Marta Veil" in await text_of(pdf(BODY), name="a.txt", media_type="text/plain")
    assert "Marta" in await text_of(docx(("", "Marta")), media_type="application/octet-stream")


@pytest.mark.parametrize(
    ("code", "is_read"),
    [
        ("print('+read')", True),
        (
            "from openkimi.files import child; child._bound_resources(2**28); bytes(2**30); print('+read')",
            False,
        ),
        ("import os; print('+read', flush=True); os.kill(os.getpid(), 9)", False),
    ],
    ids=["good", "greedy", "dying"],
)
async def test_the_bounds_of_a_conversion_hold(
    code: str, is_read: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A converter that takes more memory than it may, or dies, harms the file's sender and nobody else."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(converting.sys, "executable", str(script))

    if is_read:
        assert await text_of(pdf(BODY)) == "read\n"
    else:
        with pytest.raises(UnreadableFile, match="too much time or memory"):
            await text_of(pdf(BODY))


async def test_a_conversion_that_nobody_waits_for_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Cancelling it ends its process."""
    script, pid_file = tmp_path / "python", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(converting.sys, "executable", str(script))
    task = asyncio.create_task(text_of(pdf(BODY)))
    while not pid_file.exists() or not pid_file.read_text().strip():
        await asyncio.sleep(0.01)

    task.cancel()
    began = time.monotonic()
    await asyncio.wait([task])

    assert task.cancelled()
    while _runs(int(pid_file.read_text())):
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.01)


async def test_the_event_loop_is_free_while_a_file_is_converted() -> None:
    """A long document takes its time in another process."""
    pages = [
        [(12, 72, 800 - 14 * row, f"Line {row} of page {page}.") for row in range(50)] for page in range(60)
    ]
    longest, last = 0.0, time.monotonic()

    async def watch() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.002)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    watching = asyncio.create_task(watch())
    text = await text_of(pdf(*pages))
    watching.cancel()

    assert "Line 49 of page 59." in text
    assert longest < 0.5


async def test_files_that_wait_for_their_conversion_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many wait, the next is refused at once, and the others are converted."""
    monkeypatch.setattr(converting, "_MOST_WAITING", 1)
    converter = Converter(at_once=1)

    results = await asyncio.gather(*(converter.text_of(pdf(BODY)) for _ in range(3)), return_exceptions=True)

    assert [type(result) for result in results] == [str, str, BackendUnavailable]


async def test_no_key_of_the_gateway_reaches_a_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of a conversion has nothing of the environment but what it needs."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    assert "OPENAI_API_KEY" not in converting._environment()
    assert child.__name__ == "openkimi.files.child"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
