"""The commands ``openkimi ingest`` and ``openkimi ask``."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from filemaking import pdf

from openkimi import BackendUnavailable, Document
from openkimi.cli import main
from openkimi.logs import configure_logging
from openkimi.testing import HashingEmbedder

ROOT = Path(__file__).parents[1]
LIGHT = {
    "llm": {"type": "dummy"},
    "embedder": {"type": "hashing"},
    "plugins": {"load": ["openkimi.testing.fakes"]},
}
FACT = "The lighthouse of Orrin belongs to Marta Veil, who painted it red."
QUESTION = "Who owns the lighthouse of Orrin?"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config and a few files."""
    monkeypatch.chdir(tmp_path)
    write({})
    (tmp_path / "tower.pdf").write_bytes(pdf([(20, 72, 740, "The Tower"), (12, 72, 700, FACT)]))
    (tmp_path / "灯塔.txt").write_bytes("灯塔属于玛塔·维尔。".encode("gb18030"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    return tmp_path


def write(raw: dict[str, Any]) -> None:
    Path("config.json").write_text(json.dumps({**LIGHT, **raw}))


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    try:
        return CliRunner().invoke(main, [*arguments, "--config", "config.json"], input=stdin)
    finally:
        configure_logging("debug")  # the commands log otherwise, for good


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_files_are_stored_without_the_model() -> None:
    """Each is printed with its id, its state and its name; again costs nothing and prints the same."""
    write({"llm": {"type": "llama-cpp", "model_path": "smollm2-135m-instruct", "context_length": 256}})

    first = run("ingest", "tower.pdf", "*.txt", "tower.pdf")

    assert rows(first) == [
        [rows(first)[0][0], "ready", "tower.pdf"],
        [Document.of("灯塔属于玛塔·维尔。").id, "ready", "灯塔.txt"],
    ]
    assert run("ingest", "tower.pdf", "*.txt").stdout == first.stdout


def test_standard_input_is_a_file() -> None:
    """``-`` stands for it, and has no name."""
    assert rows(run("ingest", "-", "--no-wait", stdin=FACT))[0][0] == Document.of(FACT).id


def test_a_file_that_cannot_be_read_is_passed_over() -> None:
    """The others are stored; the line names it, and the status is 1."""
    result = run("ingest", "picture.png", "tower.pdf")

    assert result.exit_code == 1
    assert result.stderr == (
        "openkimi: picture.png: a file of '.png' is not read here: send text, Markdown, HTML, PDF, DOCX\n"
    )
    assert result.stdout.endswith("\ttower.pdf\n")


def test_vectors_that_do_not_get_made_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the embedder fails, the states are printed as they are, and a line says what to do."""

    async def fail(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("the embedding server is away")

    monkeypatch.setattr(HashingEmbedder, "embed", fail)

    result = run("ingest", "tower.pdf", "*.txt", "--timeout", "0.5")

    assert result.exit_code == 1
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == ["lexical", "lexical"]
    assert result.stderr.splitlines()[-1] == (
        "openkimi: 2 of 2 documents lack vectors, and nothing was embedded for 0.5 seconds: they are found "
        "by their words; see to the embedder and ingest them again"
    )


def test_vectors_that_take_long_are_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time counts anew with each call of the embedder."""
    calls = list[int]()

    async def embed_slowly(self: HashingEmbedder, texts: Any, **_: Any) -> Any:
        calls.append(len(texts))
        await asyncio.sleep(0.3)
        return np.full((len(texts), self.dimensions), self.dimensions**-0.5, np.float32)

    monkeypatch.setattr(HashingEmbedder, "embed", embed_slowly)
    paragraphs = [f"Paragraph {n} speaks of subject{n}. {f'It is word{n} again. ' * 40}" for n in range(100)]
    (folder / "long.txt").write_text("\n\n".join(paragraphs))

    [[_, state, _]] = rows(run("ingest", "long.txt", "--timeout", "2"))

    assert state == "ready"
    assert len(calls) * 0.3 > 2


def test_a_file_that_is_not_there_is_passed_over() -> None:
    """So are names and patterns of nothing: the others are stored, and the status is 1."""
    result = run("ingest", "nothing.txt", "tower.pdf", "no/*.md", "tower.pdf")

    assert result.exit_code == 1
    assert result.stderr == "openkimi: nothing.txt: no such file\nopenkimi: no/*.md: no such file\n"
    assert [line.split("\t")[2] for line in result.stdout.splitlines()] == ["tower.pdf"]


@pytest.mark.parametrize("command", [("ingest",), ("ask", QUESTION)])
def test_where_there_are_keys_one_of_them_is_named(command: tuple[str, ...]) -> None:
    """Documents of nobody would be seen by nobody; the names are listed, and no key."""
    Path("keys.json").write_text(json.dumps([{"name": "bob", "key": "another-long-secret"}]))
    keys = [{"name": "alice", "key": "a-long-enough-secret"}]
    write({"server": {"api_keys": keys, "api_keys_file": "keys.json"}})
    arguments = (command[0], "tower.pdf", *command[1:])

    missing, unknown = run(*arguments), run(*arguments, "--tenant", "carol")

    assert (missing.exit_code, unknown.exit_code) == (1, 1)
    assert missing.stderr == (
        "openkimi: --tenant: name the API key whose documents these are; the config has alice, bob\n"
    )
    assert unknown.stderr == ("openkimi: --tenant: no API key is named 'carol'; the config has alice, bob\n")
    assert run(*arguments, "--tenant", "bob").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tower.pdf",), "'tower.pdf' is a file: the question is missing"),
        ((QUESTION, "tower.pdf"), "'tower.pdf' is a file: the question is missing, which comes last"),
        (("doc_" + "0" * 32,), "is a document's id: the question is missing"),
        (("tower.pdf", " "), "the question is blank"),
    ],
)
def test_a_question_is_needed(arguments: tuple[str, ...], message: str) -> None:
    """The name of a file is none, and neither are blanks."""
    result = run("ask", *arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert message in result.stderr


def test_a_question_may_be_longer_than_a_name() -> None:
    """No file system is asked for more than it can have."""
    assert "Marta Veil" in run("ask", "tower.pdf", f"{QUESTION} {'Say it. ' * 40}").stdout


@pytest.mark.parametrize(
    ("arguments", "config", "status", "message"),
    [
        (("ingest", "."), {}, 1, ".: is a directory; name its files, or give a pattern like '*.txt'"),
        (("ask", "doc_nope", QUESTION), {}, 1, "there is no stored document 'doc_nope', and no such file"),
        (("ask", "x" * 300, QUESTION), {}, 1, f"{'x' * 300}: no such file"),
        (("ingest", "nothing.txt"), {}, 1, "nothing.txt: no such file"),
        (("ingest", "tower.pdf"), {"rag": {"persist": False}}, 2, "rag.persist: false keeps nothing"),
        (("ingest", "tower.pdf"), {"rag": {"nope": 1}}, 2, "rag.nope: unknown option"),
        (("ask", "nothing.txt", QUESTION), {}, 1, "nothing.txt: no such file"),
        (("ask", "picture.png", QUESTION), {}, 1, "picture.png: a file of '.png'"),
        (("ask", "doc_" + "0" * 32, QUESTION), {}, 1, "there is no stored document 'doc_0"),
        (("ask", QUESTION), {"preload": ["picture.png"]}, 2, "preload[0]: picture.png: a file of '.png'"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: tuple[str, ...], config: dict[str, Any], status: int, message: str
) -> None:
    """As with the other commands: 2 for the config, 1 for the rest."""
    write(config)

    result = run(*arguments)

    assert result.exit_code == status
    assert result.stderr.startswith(f"openkimi: {message}")
    assert result.stderr.count("\n") == 1


def test_a_question_is_answered_from_files_with_its_sources() -> None:
    """The answer comes first, then what was read: the file, the characters, the text."""
    result = run("ask", "tower.pdf", "*.txt", QUESTION, "--sources")

    answer, _, sources = result.stdout.partition("\n\nRead:\n")
    assert result.exit_code == 0, result.output
    assert "Marta Veil" in answer
    assert f"  tower.pdf 0-{len(FACT) + 13}: # The Tower {FACT}" in sources.splitlines()


def test_without_a_terminal_there_is_only_the_answer() -> None:
    """A program that reads it gets nothing else, unless it asks for sources."""
    assert "Read:" not in run("ask", "tower.pdf", QUESTION).stdout


def test_a_stored_document_is_asked_by_its_id() -> None:
    """What ``ingest`` printed names it, for the tenant that has it and for no other."""
    keys = [{"name": name, "key": f"a-long-secret-of-{name}"} for name in ("alice", "bob")]
    write({"server": {"api_keys": keys}})
    [[document_id, *_]] = rows(run("ingest", "tower.pdf", "--tenant", "alice"))

    assert "Marta Veil" in run("ask", document_id, QUESTION, "--tenant", "alice").stdout
    assert run("ask", document_id, QUESTION, "--tenant", "bob").exit_code == 1


def test_a_question_alone_reads_what_is_preloaded() -> None:
    """No file has to be named where the config names some."""
    write({"preload": ["*.pdf"]})

    assert "Marta Veil" in run("ask", QUESTION).stdout


def test_a_gateway_serves_what_was_ingested(folder: Path) -> None:
    """The command's store is the gateway's: its engine lists the document, with its name, as kept."""
    [[document_id, *_]] = rows(run("ingest", "tower.pdf"))
    code = (
        "import asyncio\nfrom openkimi import KimiEngine\n"
        "[info] = asyncio.run(KimiEngine('config.json').documents())\n"
        "print(info.id, info.name, info.kept)"
    )

    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )

    assert shown.stdout.splitlines()[-1].split() == [document_id, "tower.pdf", "True"]


@pytest.mark.model
def test_the_default_model_answers_from_a_pdf() -> None:
    """The model of config/config.json copies the fact out of the file."""
    config = json.loads((ROOT / "config/config.json").read_text("utf-8"))
    write({"llm": config["llm"], "embedder": config.get("embedder", {})})

    result = run("ask", "tower.pdf", QUESTION, "--sources")

    assert result.exit_code == 0, result.output
    assert "Marta Veil" in result.stdout.partition("Read:")[0]
