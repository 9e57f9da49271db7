"""The command ``openkimi reload``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from openkimi.control import Described, Failed, Reloaded, Request, ask, gateways
from openkimi.errors import OpenKimiError, RequestError
from openkimi.shell import config_path, takes_config


@click.command()
@partial(takes_config, otherwise=", or that of the one gateway that runs")
@click.option("--pid", type=int, help="The process of the gateway, where several serve one config.")
def reload(config: str | None, pid: int | None) -> None:
    """Let a running gateway read its config anew, and wait till it answers by it.

    What did not change stays loaded, answers that are being written are finished as they began, and a config
    that does not load changes nothing.
    """
    path, gateway = _chosen(gateways(), config_path(config), pid)
    try:
        reply = ask(path, Request(do="reload"))
    except OSError as error:
        raise OpenKimiError(f"the gateway of {gateway.config} ended meanwhile") from error
    if isinstance(reply, Failed):
        click.echo(f"openkimi: {reply.reason}", err=True)
        click.echo(f"{gateway.url} goes on with the config that it has", err=True)
        sys.exit(2 if reply.of_config else 1)
    assert isinstance(reply, Reloaded)
    click.echo(f"{gateway.url} has read {gateway.config} anew: {_summary(reply)}")
    for name, reason in reply.failed.items():
        click.echo(f"openkimi: the plugin {name} is not in use: {reason}", err=True)
    for option in reply.at_restart:
        click.echo(f"openkimi: {option} takes effect when the gateway is started anew", err=True)


def _summary(reloaded: Reloaded) -> str:
    names = [option for option in reloaded.changed if option not in reloaded.at_restart]
    return f"changed {', '.join(names)}" if names else "no option has changed that a reload heeds"


def _chosen(
    found: Sequence[tuple[Path, Described]], config: str | None, pid: int | None
) -> tuple[Path, Described]:
    """Pick the one gateway that is meant.

    Raises:
        RequestError: there is none, or more than one.
    """
    if config is not None:
        where = Path(config).resolve()
        found = [each for each in found if Path(each[1].config).resolve() == where]
    if pid is not None:
        found = [each for each in found if each[1].process == pid]
    if not found:
        what = f"serves {config}" if config is not None else "runs"
        raise RequestError(
            f"no gateway of this user {what}{'' if pid is None else f' as process {pid}'}; where it runs as "
            "another user or in a container, run this there, or send its process a SIGHUP"
        )
    if len(found) > 1:
        running = "; ".join(f"--pid {each.process}: {each.config} on {each.url}" for _, each in found)
        raise RequestError(f"several gateways run, say which one: {running}")
    return found[0]
