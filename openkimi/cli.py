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
from openkimi.commands import CommandGroup, plugins_of, quarrels_of
from openkimi.config import build_config, read_config
from openkimi.doctor import doctor
from openkimi.documents import ANONYMOUS
from openkimi.engine import KimiEngine
from openkimi.errors import ConfigError
from openkimi.ingesting import ingest
from openkimi.interrupting import leave_quietly, raise_again
from openkimi.logs import configure_logging
from openkimi.new_plugin import new_plugin
from openkimi.plugins import HOOKS, SECTIONS
from openkimi.preloading import read_preloads
from openkimi.reloading import reload
from openkimi.schema import config_schema
from openkimi.showing import config


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(openkimi.__version__, prog_name="openkimi")
def main() -> None:
    """Answer from documents longer than the model's window."""
    raise_again()


@main.command()
@click.option("--config", "-c", metavar="FILE", help="Also load the plugins that this config names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(config: str | None, as_json: bool) -> None:
    """List the plugins, what they offer and why one failed."""
    found = plugins_of(config)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.reports)).decode())
        return
    for report in found.reports:
        version = f" {report.distribution} {report.version}" if report.distribution else ""
        click.echo(f"{report.name}{version}: {report.state}{f' ({report.reason})' if report.reason else ''}")
        if report.remedy:
            click.echo(f"  {report.remedy}")
        if report.hooks:
            click.echo(f"  hooks: {', '.join(report.hooks)}")
        for role, kinds in report.kinds.items():
            for kind in kinds:
                provider = found.provider(role, kind)
                also = f" (also {', '.join(provider.aliases)})" if provider.aliases else ""
                says = f": {provider.description}" if provider.description else ""
                click.echo(f"  {SECTIONS[role]} = {kind}{also}{says}")
        if report.name in found.options:
            click.echo(f"  options: plugins.options.{report.name}")
        for name in report.commands:
            click.echo(f"  openkimi {name}: {found.commands[name][0][1].get_short_help_str(80)}")
    for quarrel in quarrels_of(found, main):
        click.echo(f"openkimi: {quarrel}", err=True)


@main.command()
def hooks() -> None:
    """List the hooks that a plugin may implement."""
    for name in HOOKS:
        hook = getattr(hookspecs, name)
        click.echo(f"{name}{inspect.signature(hook, eval_str=False)}")
        click.echo(f"    {inspect.getdoc(hook)}")


@main.command()
@click.argument("config", metavar="CONFIG")
def check(config: str) -> None:
    """Check a config file, and that what it preloads can be read, without loading a model."""
    from openkimi.api.app import create_app

    configure_logging("warning")
    checked = build_config(read_config(config))
    create_app(KimiEngine.of(checked))  # what plugins add to the application may be wrong, too
    asyncio.run(read_preloads(checked.preload))
    chosen = (checked.backend, checked.embedder, checked.processor, checked.retriever)
    kinds = ", ".join(f"{SECTIONS[each.role]} = {each.provider.kind}" for each in chosen)
    if checked.server.tls is not None:
        from openkimi.api.tls import tls_context

        tls_context(checked.server.tls)
    for place in weak_keys(checked.server):
        click.echo(f"openkimi: {place}: less than {SHORTEST} characters: such a key can be guessed", err=True)
    click.echo(f"{config}: good ({kinds})")


@main.command()
@click.argument("output", required=False, metavar="[FILE]")
@click.option("--config", "-c", metavar="FILE", help="Also describe the plugins that this config names.")
def schema(output: str | None, config: str | None) -> None:
    """Print the JSON Schema of config.json, or write it to FILE."""
    described = msgspec.json.encode(config_schema(plugins_of(config)))
    text = msgspec.json.format(described, indent=2).decode() + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            Path(output).write_text(text, "utf-8")
        except OSError as error:
            raise ConfigError(f"{output}: cannot be written: {error.strerror}") from error


main.add_command(config)
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
