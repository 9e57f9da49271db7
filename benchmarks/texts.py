"""The texts that the questions are about: the repository's speech, Debian's handbook, those of a folder."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path

from peers import CACHE, ROOT, Absent

SPEECH = "sotu-truman-1946"
HANDBOOKS = {"handbook-en": "en-US", "handbook-zh": "zh-CN"}
PACKAGE = "debian-handbook"

_LINES = frozenset({"dd", "dl", "dt", "li", "ol", "tr", "ul"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCKS = _LINES | _HEADINGS | {"blockquote", "body", "caption", "div", "p", "pre", "table"}
_SILENT = frozenset({"head", "script", "style"})
_CELLS = frozenset({"td", "th"})


def find(names: Iterable[str], folder: Path | None) -> dict[str, str]:
    """Bring the named texts: from the folder, else the repository, else Debian's archive.

    What cannot be had is left out, in one line that says why.
    """
    found = {}
    for name in sorted(set(names)):
        try:
            found[name] = _read(name, folder)
        except Absent as reason:
            print(f"{name} is left out: {reason}")
    return found


def _read(name: str, folder: Path | None) -> str:
    if folder is not None:
        for path in (folder / f"{name}.txt", folder / f"{name}.txt.gz"):
            if path.exists():
                data = path.read_bytes()
                return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if name == SPEECH:
        return (ROOT / "tests/data/truman-1946.txt").read_text("utf-8")
    if name in HANDBOOKS:
        return handbook(HANDBOOKS[name])
    raise Absent(f"--texts names no folder with {name}.txt or {name}.txt.gz")


def handbook(language: str) -> str:
    """Read the Debian Administrator's Handbook in a language, from its package in Debian's archive."""
    folder = _unpacked() / f"usr/share/doc/{PACKAGE}/html/{language}"
    pages = sorted(folder.glob("*.html"))
    if not pages:
        raise Absent(f"the package {PACKAGE} has no {language}")
    return "\n\n".join(text_of(page.read_text("utf-8")) for page in pages)


def _unpacked() -> Path:
    home = CACHE / PACKAGE
    if (home / "usr").exists():
        return home
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Absent(f"Debian's package {PACKAGE} needs apt-get and dpkg-deb; --texts names a folder instead")
    home.mkdir(parents=True, exist_ok=True)
    _run("apt-get", "download", "-q", PACKAGE, folder=home)
    [package, *_] = home.glob("*.deb")
    _run("dpkg-deb", "-x", package.name, "unpacked", folder=home)
    (home / "unpacked/usr").rename(home / "usr")
    return home


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Absent(f"'{' '.join(command)}' failed: {said[-1] if said else done.returncode}")


def text_of(page: str) -> str:
    """Take the markup off a page: its blocks become paragraphs, its items lines; preformatted text stays."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.text


class _Reader(HTMLParser):
    """Collects the text of each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._done: list[str] = []
        self._pieces: list[str] = []
        self._gap = ""
        self._silent = self._preformatted = 0

    @property
    def text(self) -> str:
        self._end_block("body")
        return "".join(self._done)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._end_block(tag)
        if tag == "br":
            self._pieces.append("\n")
        if tag in _CELLS and self._pieces:
            self._pieces.append(" ")
        self._silent += tag in _SILENT
        self._preformatted += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._end_block(tag)
        self._silent -= tag in _SILENT
        self._preformatted -= tag == "pre"

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._pieces.append(data if self._preformatted else re.sub(r"\s+", " ", data))

    def _end_block(self, tag: str) -> None:
        block = "".join(self._pieces)
        self._pieces = []
        if block.strip():
            self._done += (self._gap, block.strip("\n") if self._preformatted else block.strip())
            self._gap = ""
        if self._done:
            self._gap = max(self._gap, "\n" if tag in _LINES else "\n\n")
