"""Commands that plugins add to openkimi: found when they are needed, and never in the way of its own."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from openkimi import cli

COMMAND = """
import click
from openkimi import hookimpl

@click.command("{name}")
@click.argument("word")
def command(word):
    "Say WORD louder."
    {body}

@hookimpl
def register_commands():
    return [command]
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write plugins as modules and a config in the environment that loads them."""

    def installed(**modules: str) -> None:
        for name, code in modules.items():
            (tmp_path / f"{name}.py").write_text(code)
        (tmp_path / "config.json").write_text(json.dumps({"plugins": {"load": list(modules)}}))
        monkeypatch.setenv("OPENKIMI_CONFIG_PATH", str(tmp_path / "config.json"))

    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    for name in [name for name in sys.modules if name.startswith("made_")]:
        del sys.modules[name]


def made(name: str, body: str = "click.echo(word.upper())") -> str:
    return COMMAND.format(name=name, body=body)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments))


def test_a_command_of_a_plugin_is_listed_and_runs(install: Install) -> None:
    """What a plugin offers is in the help, in the list of plugins, and can be called."""
    install(made_loud=made("louder"))

    assert run("louder", "hello").stdout == "HELLO\n"
    assert "Say WORD louder." in run("--help").stdout
    shown = run("plugins", "--config", str(Path(sys.path[0]) / "config.json")).stdout
    assert "openkimi louder: Say WORD louder." in shown


def test_a_command_of_openkimi_itself_wins(install: Install) -> None:
    """A plugin cannot replace a command; the help warns in one line that it tries."""
    install(made_sly=made("hooks"))

    helped = run("--help")

    assert "register_backends" in run("hooks").stdout
    assert (
        helped.stderr == "openkimi: openkimi has a command 'hooks' itself; that of made_sly is not reached\n"
    )


def test_a_plugin_that_fails_leaves_help_and_the_other_commands(install: Install) -> None:
    """A broken plugin costs a line of the help."""
    install(made_broken="raise RuntimeError('no luck')", made_loud=made("louder"))

    helped = run("--help")

    assert helped.exit_code == 0
    assert helped.stderr == "openkimi: the plugin made_broken does not load: RuntimeError: no luck\n"
    assert "louder" in helped.stdout
    assert run("louder", "hello").stdout == "HELLO\n"


def test_a_config_that_is_wrong_leaves_help(install: Install, tmp_path: Path) -> None:
    """Where the environment's config cannot be read, its plugins are missing and the help is shown."""
    install()
    (tmp_path / "config.json").write_text("{")

    helped = run("--help")

    assert helped.exit_code == 0
    assert "plugins" in helped.stdout
    assert helped.stderr.startswith("openkimi: ")


@pytest.mark.parametrize("arguments", [("--version",), ("hooks",), ("serve", "--help"), ("keys", "--help")])
def test_what_openkimi_has_itself_loads_no_plugin(install: Install, arguments: tuple[str, ...]) -> None:
    """Plugins are not even imported for openkimi's own commands."""
    install(made_loud=made("louder"))

    assert run(*arguments).exit_code == 0
    assert "made_loud" not in sys.modules


def test_two_plugins_with_one_command_are_told_apart_by_the_user(install: Install) -> None:
    """A command that two plugins offer says which they are and how to choose."""
    install(made_one=made("louder"), made_two=made("louder"))

    result = run("louder", "hello")

    assert result.exit_code != 0
    assert "offered by the plugins made_one and made_two" in result.stderr
    assert run("--help").exit_code == 0


def test_a_command_nobody_offers_is_an_error_of_use() -> None:
    """A misspelt command is refused as click does it."""
    result = run("servee")

    assert result.exit_code == 2
    assert "No such command 'servee'" in result.stderr


def test_an_error_of_openkimi_in_a_command_is_one_line(install: Install) -> None:
    """A command may raise openkimi's errors: no traceback is shown."""
    install(made_picky=made("picky", "from openkimi import ConfigError; raise ConfigError('llm.x: no')"))

    result = run("picky", "hello")

    assert (result.exit_code, result.stderr) == (2, "openkimi: llm.x: no\n")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("return ['greet']", "must return click.Command objects, not str"),
        ("return [click.Command(None)]", "returned a command without a name"),
    ],
)
def test_a_hook_that_returns_no_command_is_reported(install: Install, code: str, reason: str) -> None:
    """What is no command fails its plugin with the reason."""
    install(
        made_wrong="import click\nfrom openkimi import hookimpl\n"
        f"@hookimpl\ndef register_commands():\n    {code}"
    )

    assert reason in run("--help").stderr
