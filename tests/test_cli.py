"""The command openkimi."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import openkimi
from openkimi.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def write(path: Path, raw: Any) -> str:
    path.write_text(json.dumps(raw))
    return str(path)


def test_plugins_lists_what_is_installed_and_what_it_offers() -> None:
    """Every first-party plugin and its kinds are shown."""
    shown = run("plugins").output

    assert "scripted openkimi" in shown
    assert "llm.type = scripted (also dummy)" in shown
    assert "rag.type = lancedb" in shown


def test_plugins_can_be_read_by_a_program() -> None:
    """--json prints the reports."""
    reports = json.loads(run("plugins", "--json").output)

    assert {"entropy", "lancedb", "scripted", "use"} <= {report["name"] for report in reports}


def test_hooks_lists_every_hook_with_its_purpose() -> None:
    """Each hook's signature and docstring are shown."""
    shown = run("hooks").output

    assert "register_backends()" in shown
    assert "chosen by ``rag.type``" in shown


def test_check_says_that_a_config_is_good(tmp_path: Path) -> None:
    """The kinds that were chosen are named."""
    result = run("check", write(tmp_path / "c.json", {"llm": {"type": "dummy"}}))

    assert result.exit_code == 0
    assert "good (llm.type = scripted" in result.output


@pytest.mark.parametrize("raw", [{"llm": {"type": "nope"}}, {"preload": ["/no/such/file"]}])
def test_check_says_what_is_wrong(tmp_path: Path, raw: Any) -> None:
    """A bad config ends with one line and status 2."""
    result = run("check", write(tmp_path / "c.json", raw))

    assert result.exit_code == 2
    assert result.stderr.startswith("openkimi: ")


def test_schema_writes_the_schema(tmp_path: Path) -> None:
    """With a file name it writes there, without it prints."""
    path = tmp_path / "schema.json"

    assert run("schema", str(path)).exit_code == 0
    assert json.loads(path.read_text()) == json.loads(run("schema").output)


def test_the_version_is_the_packages() -> None:
    """--version prints it."""
    assert openkimi.__version__ in run("--version").output
