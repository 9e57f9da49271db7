"""The command ``openkimi plugins``: what was found, what it offers, and why one is not in use."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from openkimi.commands import plugins_of, quarrels_of
from openkimi.config import build_config, read_config
from openkimi.errors import ConfigError
from openkimi.logs import configure_logging
from openkimi.plugins import SECTIONS, PluginReport, Plugins
from openkimi.shell import config_path, takes_config


@click.command()
@takes_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(config: str | None, as_json: bool) -> None:
    """List the installed plugins and those of the config, what they offer and why one failed."""
    configure_logging("error")
    path = config_path(config)
    found = plugins_of(path)
    try:
        _mount(found, path)
    except ConfigError as error:
        click.echo(f"openkimi: routes are not listed: {error.message}", err=True)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.reports)).decode())
        return
    for report in found.reports:
        click.echo("\n  ".join(_lines(report, found)))
    group = click.get_current_context().find_root().command
    assert isinstance(group, click.Group)
    for quarrel in quarrels_of(found, group):
        click.echo(f"openkimi: {quarrel}", err=True)


def _mount(found: Plugins, config: str | None) -> None:
    """Build an application of plugins that are loaded, so that their reports know their routes.

    Raises:
        ConfigError: something keeps it from being built; what is a plugin's own fault is reported, too.
    """
    from openkimi.api.app import create_app
    from openkimi.engine import KimiEngine

    create_app(KimiEngine.of(build_config(read_config(config) if config else {}, loaded=found)))


def _lines(report: PluginReport, found: Plugins) -> Iterator[str]:
    version = f" {report.distribution} {report.version}" if report.distribution else ""
    yield f"{report.name}{version}: {report.state}{f' ({report.reason})' if report.reason else ''}"
    if report.remedy:
        yield report.remedy
    if report.hooks:
        yield f"hooks: {', '.join(report.hooks)}"
    yield from _kinds(report, found)
    if report.name in found.options:
        yield f"options: plugins.options.{report.name}"
    for route in report.routes:
        yield f"{route}{_door(report, route)}"
    for name in report.commands:
        yield f"openkimi {name}: {found.commands[name][0][1].get_short_help_str(80)}"


def _kinds(report: PluginReport, found: Plugins) -> Iterator[str]:
    for role, kinds in report.kinds.items():
        for kind in kinds:
            provider = found.offered(report.name, role, kind)
            also = f" (also {', '.join(provider.aliases)})" if provider.aliases else ""
            says = f": {provider.description}" if provider.description else ""
            yield f"{SECTIONS[role]} = {kind}{also}{says}"


def _door(report: PluginReport, route: str) -> str:
    """Say of a route that its plugin marks as public whether it is."""
    if route in report.public:
        return ": without a key"
    return f": without a key if plugins.public named {report.name}" if route in report.asks_public else ""
