"""The command openkimi."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import openkimi
from openkimi.cli import main
from openkimi.config import build_config, read_config


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


PUBLIC_ROUTE = """
from litestar import get
from openkimi import PUBLIC, hookimpl

@get("/health", opt=PUBLIC)
async def health() -> str:
    return "well"

@hookimpl
def register_routes():
    return [health]
"""


def test_plugins_lists_routes_and_what_a_misspelt_one_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Routes are there, with those that need no key; a module that is not there is told and ends nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made_public.py").write_text(PUBLIC_ROUTE)
    load = {"load": ["made_pubic", "made_public"]}

    asks = run("plugins", write(tmp_path / "c.json", {"plugins": load}))
    allowed = run("plugins", write(tmp_path / "d.json", {"plugins": {**load, "public": ["made_public"]}}))
    del sys.modules["made_public"]

    assert (asks.exit_code, asks.stderr) == (0, "")
    assert (
        "made_pubic: failed (no module named 'made_pubic')\n  mend its name in plugins.load[0]" in asks.stdout
    )
    assert (
        "  GET /plugins/made_public/health: without a key if plugins.public named made_public\n"
        in asks.stdout
    )
    assert "  GET /plugins/made_public/health: without a key\n" in allowed.stdout


def test_plugins_that_offer_one_kind_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is when one looks for who they are; the kind is an error where a config chooses it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made_dummy.py").write_text(
        "from openkimi import Provider, hookimpl\n"
        "@hookimpl\ndef register_backends():\n    return [Provider('dummy', None, description='Ours.')]"
    )

    shown = run("plugins", write(tmp_path / "c.json", {"plugins": {"load": ["made_dummy"]}}))
    del sys.modules["made_dummy"]

    assert shown.exit_code == 0
    assert "  llm.type = dummy: Ours." in shown.stdout
    assert "offered by the plugins scripted and made_dummy" in shown.stderr


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


@pytest.mark.parametrize("command", ["check", "config", "doctor", "plugins"])
def test_a_config_is_given_in_one_of_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As the argument, as --config, or by the environment, whose config is the last choice; not twice."""
    raw = {"llm": {"type": "dummy"}, "rag": {"persist": False}, "server": {"port": 0}}
    path = write(tmp_path / "c.json", raw)

    given = [run(command, path), run(command, "--config", path), run(command, "-c", path)]
    twice = run(command, path, "-c", path)
    monkeypatch.setenv("OPENKIMI_CONFIG_PATH", path)
    given.append(run(command))
    monkeypatch.setenv("OPENKIMI_CONFIG_PATH", "/no/such/file")
    overridden, missing = run(command, path), run(command)

    assert [result.exit_code for result in given] == [0, 0, 0, 0]
    assert (twice.exit_code, "two configs" in twice.stderr) == (2, True)
    assert (overridden.exit_code, missing.exit_code) == (0, 1 if command == "doctor" else 2)


def test_check_wants_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to check in the defaults: the ways to name a file are told."""
    monkeypatch.delenv("OPENKIMI_CONFIG_PATH", raising=False)

    result = run("check")

    assert result.exit_code == 2
    assert "no config: name its file, or set OPENKIMI_CONFIG_PATH" in result.stderr


@pytest.mark.parametrize("raw", [{"llm": {"type": "nope"}}, {"preload": ["/no/such/file"]}])
def test_check_says_what_is_wrong(tmp_path: Path, raw: Any) -> None:
    """A bad config ends with one line and status 2."""
    result = run("check", write(tmp_path / "c.json", raw))

    assert result.exit_code == 2
    assert result.stderr.startswith("openkimi: ")


def test_check_reads_what_is_preloaded(tmp_path: Path) -> None:
    """A file that would end the start is found before it, and its place in the config is told."""
    (tmp_path / "good.txt").write_text("The tower is red.")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 cut short")
    files = [str(tmp_path / name) for name in ("good.txt", "bad.pdf")]

    good = run("check", write(tmp_path / "c.json", {"preload": files[:1]}))
    bad = run("check", write(tmp_path / "c.json", {"preload": files}))

    assert good.exit_code == 0
    assert bad.exit_code == 2
    assert bad.stderr.startswith(f"openkimi: preload[1]: {files[1]}: ")
    assert bad.stderr.count("\n") == 1


def test_schema_writes_the_schema(tmp_path: Path) -> None:
    """With a file name it writes there, without it prints."""
    path = tmp_path / "schema.json"

    assert run("schema", str(path)).exit_code == 0
    assert json.loads(path.read_text()) == json.loads(run("schema").output)


def test_the_version_is_the_packages() -> None:
    """--version prints it."""
    assert openkimi.__version__ in run("--version").output


def test_a_new_key_is_shown_once_with_its_entry_for_the_config(tmp_path: Path) -> None:
    """The entry holds the key's hash, is good as it is, and each call makes another key."""
    key, entry = run("keys", "new", "alice").stdout.splitlines()
    other, _ = run("keys", "new", "alice").stdout.splitlines()
    path = write(tmp_path / "config.json", {"server": {"api_keys": [json.loads(entry)]}})

    [known] = build_config(read_config(path)).server.api_keys
    assert (known.name, known.digest) == ("alice", hashlib.sha256(key.encode()).digest())
    assert len(key) > 40
    assert key != other
    assert run("check", path).exit_code == 0


@pytest.mark.parametrize("name", ["", "two words", "anonymous", "-x", "../x"])
def test_a_name_that_no_key_can_have_is_refused(name: str) -> None:
    """The name of a key is one plain word, and not that of callers without one."""
    assert run("keys", "new", "--", name).exit_code == 2


def test_check_warns_of_a_key_that_can_be_guessed(tmp_path: Path) -> None:
    """The place is named and the key is not."""
    path = write(tmp_path / "config.json", {"server": {"api_keys": ["hunter2"]}})

    shown = run("check", path)

    assert shown.exit_code == 0
    assert "server.api_keys[0]: less than 16 characters" in shown.stderr
    assert "hunter2" not in shown.output


def test_check_looks_at_the_certificate(tmp_path: Path) -> None:
    """A certificate that is not there is told before the gateway is started."""
    tls = {"certificate": "/no/such.pem", "key": "/no/such.key"}
    path = write(tmp_path / "config.json", {"server": {"tls": tls}})

    assert "server.tls.certificate: /no/such.pem: cannot be read" in run("check", path).stderr
