"""The command ``openkimi``."""

from __future__ import annotations

import asyncio
import inspect
import secrets
from pathlib import Path

import click
import msgspec

import openkimi
from openkimi import hookspecs
from openkimi.access import weak_keys
from openkimi.api_keys import SHORTEST, ApiKey, digest_of
from openkimi.asking import ask
from openkimi.commands import CommandGroup, plugins_of
from openkimi.config import build_config, read_config
from openkimi.doctor import doctor
from openkimi.documents import ANONYMOUS
from openkimi.engine import KimiEngine
from openkimi.errors import ConfigError
from openkimi.ingesting import ingest
from openkimi.interrupting import leave_quietly, raise_again
from openkimi.listing import plugins
from openkimi.logs import configure_logging
from openkimi.new_plugin import new_plugin
from openkimi.plugins import HOOKS, SECTIONS
from openkimi.preloading import read_preloads
from openkimi.schema import config_schema
from openkimi.shell import config_option, config_path, takes_config
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
@takes_config
def check(config: str | None) -> None:
    """Check a config file, and that what it preloads can be read, without loading a model."""
    from openkimi.api.app import create_app

    path = config_path(config)
    if path is None:
        raise click.UsageError("no config: name its file, or set OPENKIMI_CONFIG_PATH")
    configure_logging("warning")
    checked = build_config(read_config(path))
    create_app(KimiEngine.of(checked))  # what plugins add to the application may be wrong, too
    asyncio.run(read_preloads(checked.preload))
    chosen = (checked.backend, checked.embedder, checked.processor, checked.retriever)
    kinds = ", ".join(f"{SECTIONS[each.role]} = {each.provider.kind}" for each in chosen)
    if checked.server.tls is not None:
        from openkimi.api.tls import tls_context

        tls_context(checked.server.tls)
    for place in weak_keys(checked.server):
        click.echo(f"openkimi: {place}: less than {SHORTEST} characters: such a key can be guessed", err=True)
    click.echo(f"{path}: good ({kinds})")


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


main.add_command(config)
main.add_command(plugins)
main.add_command(doctor)
main.add_command(ingest)
main.add_command(ask)
main.add_command(new_plugin)


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
