"""The group of openkimi's commands: its own, and those that plugins offer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from openkimi.config import read_config
from openkimi.errors import ConfigError, OpenKimiError, PluginError
from openkimi.options import convert_options
from openkimi.plugins import Plugins, load_plugins
from openkimi.sections import PluginsSection
from openkimi.shell import config_path

_LOADED = "openkimi.plugins"


class CommandGroup(click.Group):
    """A group that asks the plugins for a command it does not have, and ends with one line on an error.

    Plugins are loaded only when a command is none of the group's own or when all are listed, so that what
    openkimi has itself starts as quickly as without them, whatever they do.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the group's own commands and of the plugins'."""
        found = _plugins_for(ctx)
        for quarrel in quarrels_of(found, self):
            click.echo(f"openkimi: {quarrel}", err=True)
        for report in found.reports:
            if report.state == "failed":
                click.echo(f"openkimi: the plugin {report.name} does not load: {report.reason}", err=True)
        return sorted({*self.commands, *found.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the group's own command of a name, or else the one that a plugin offers."""
        if own := self.commands.get(cmd_name):
            return own
        offers = _plugins_for(ctx).commands.get(cmd_name, [])
        if len(offers) > 1:
            return _quarrel(cmd_name, [plugin for plugin, _ in offers])
        return offers[0][1] if offers else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what openkimi raises ends it with one line and a status."""
        try:
            return super().invoke(ctx)
        except OpenKimiError as error:
            click.echo(f"openkimi: {error.message}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)


def plugins_of(config: str | None) -> Plugins:
    """Load the installed plugins, and those that a config file names; a name that is no module is reported.

    Raises:
        ConfigError: the file, or its section ``plugins``, is wrong.
    """
    raw = read_config(config).get("plugins", {}) if config else {}
    section = convert_options(raw, PluginsSection, where="plugins")
    return load_plugins(section.load, section.block)


def quarrels_of(found: Plugins, group: click.Group) -> Iterator[str]:
    """Say which commands of plugins cannot be reached, and why."""
    for name, offers in sorted(found.commands.items()):
        plugins = [plugin for plugin, _ in offers]
        if name in group.commands:
            yield f"openkimi has a command '{name}' itself; that of {_and(plugins)} is not reached"
        elif len(plugins) > 1:
            yield _clash(name, plugins)


def _plugins_for(ctx: click.Context) -> Plugins:
    """Load the plugins once for a run: the installed ones, and those of the environment's config."""
    if _LOADED not in ctx.meta:
        ctx.meta[_LOADED] = _load()
    found: Plugins = ctx.meta[_LOADED]
    return found


def _load() -> Plugins:
    try:
        return plugins_of(config_path(None))
    except ConfigError as error:
        click.echo(f"openkimi: {error.message}", err=True)
        return load_plugins()


def _quarrel(name: str, plugins: list[str]) -> click.Command:
    """Make a command in place of those that several plugins offer: it tells so."""

    def tell(**_: object) -> None:
        raise PluginError(_clash(name, plugins))

    return click.Command(
        name,
        callback=tell,
        help=f"Offered by the plugins {_and(plugins)}: block all but one.",
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
    )


def _clash(name: str, plugins: list[str]) -> str:
    return (
        f"the command '{name}' is offered by the plugins {_and(plugins)}; name all but one of them in "
        '"plugins": {"block": [...]} of the config in OPENKIMI_CONFIG_PATH'
    )


def _and(names: list[str]) -> str:
    return " and ".join(names)
