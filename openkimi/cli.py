"""The command ``openkimi``."""

from __future__ import annotations

import inspect
import secrets
from pathlib import Path

import click
import msgspec

import openkimi
from openkimi import hookspecs
from openkimi.api_keys import ApiKey, digest_of
from openkimi.asking import ask
from openkimi.checking import check
from openkimi.commands import CommandGroup, plugins_of
from openkimi.doctor import doctor
from openkimi.documents import ANONYMOUS
from openkimi.errors import ConfigError
from openkimi.ingesting import ingest
from openkimi.interrupting import leave_quietly, raise_again
from openkimi.listing import plugins
from openkimi.new_plugin import new_plugin
from openkimi.plugins import HOOKS
from openkimi.reloading import reload
from openkimi.schema import config_schema
from openkimi.shell import config_option, config_path
from openkimi.showing import config


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(openkimi.__version__, prog_name="openkimi")
def main() -> None:
    """Answer from documents longer than the model's window."""
    raise_again()


@main.command()
def hooks() -> None:
    """List the hooks that a plugin may implement."""
    for name in HOOKS:
        hook = getattr(hookspecs, name)
        click.echo(f"{name}{inspect.signature(hook, eval_str=False)}")
        click.echo(f"    {inspect.getdoc(hook)}")


@main.command()
@click.argument("output", required=False, metavar="[FILE]")
@config_option
def schema(output: str | None, config: str | None) -> None:
    """Print the JSON Schema of config.json, or write it to FILE; it knows the config's own plugins, too."""
    found = plugins_of(config_path(config))
    found.refuse_absent()
    described = msgspec.json.encode(config_schema(found))
    text = msgspec.json.format(described, indent=2).decode() + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            Path(output).write_text(text, "utf-8")
        except OSError as error:
            raise ConfigError(f"{output}: cannot be written: {error.strerror}") from error


main.add_command(check)
main.add_command(config)
main.add_command(plugins)
main.add_command(doctor)
main.add_command(ingest)
main.add_command(ask)
main.add_command(new_plugin)
main.add_command(reload)


@main.group()
def keys() -> None:
    """Make API keys."""


@keys.command()
@click.argument("name", metavar="NAME")
def new(name: str) -> None:
    """Print a new key for NAME, which is shown only now, and its entry for server.api_keys."""
    key = f"sk-{secrets.token_urlsafe(32)}"
    entry = {"name": name, "sha256": digest_of(key.encode()).hex()}
    try:
        ApiKey.of(entry)
    except ValueError as error:
        expected = f"letters, digits and _ . - @, and not '{ANONYMOUS}'"
        raise click.BadParameter(f"expected {expected}, got {name!r}", param_hint="NAME") from error
    click.echo(key)
    click.echo(msgspec.json.format(msgspec.json.encode(entry), indent=0).decode())


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve the gateway; takes the options of python -m openkimi.api.server."""
    leave_quietly()
    from openkimi.api.server import main as serve_main

    serve_main.main(args=list(arguments), prog_name="openkimi serve")


if __name__ == "__main__":
    main()
