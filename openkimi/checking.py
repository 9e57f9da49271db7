"""The command ``openkimi check``: whether a config is good, and all that is wrong with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import click

from openkimi.access import weak_keys
from openkimi.api_keys import SHORTEST
from openkimi.config import Config, build_config, read_config
from openkimi.engine import KimiEngine
from openkimi.errors import ConfigError
from openkimi.faults import faults_of
from openkimi.logs import configure_logging
from openkimi.plugins import SECTIONS
from openkimi.preloading import read_preloads
from openkimi.shell import config_path, takes_config, wrapped


@click.command()
@partial(takes_config, otherwise="")
def check(config: str | None) -> None:
    """Check a config file, and that what it preloads can be read, without loading a model."""
    path = config_path(config)
    if path is None:
        raise click.UsageError("no config: name its file, or set OPENKIMI_CONFIG_PATH")
    configure_logging("warning")
    checked = _built(read_config(path))
    _refuse(list(_faults_beside(checked)))
    for place in weak_keys(checked.server):
        click.echo(f"openkimi: {place}: less than {SHORTEST} characters: such a key can be guessed", err=True)
    chosen = (checked.backend, checked.embedder, checked.processor, checked.retriever)
    kinds = ", ".join(f"{SECTIONS[each.role]} = {each.provider.kind}" for each in chosen)
    click.echo(f"{path}: good ({kinds})")


def _built(raw: dict[str, Any]) -> Config:
    try:
        return build_config(raw)
    except ConfigError as error:
        _refuse(faults_of(raw, error))
        raise


def _refuse(faults: Sequence[str]) -> None:
    """End with all faults, if there are some."""
    for fault in faults:
        click.echo(wrapped(f"openkimi: {fault}", sys.stderr, indent="  "), err=True)
    if faults:
        sys.exit(2)


def _faults_beside(config: Config) -> Iterator[str]:
    """Try what ends a start though the config is good: what plugins add, what is preloaded, certificates."""
    from openkimi.api.app import create_app
    from openkimi.api.tls import tls_context

    tls = config.server.tls
    steps: list[Callable[[], object]] = [
        lambda: create_app(KimiEngine.of(config)),
        lambda: asyncio.run(read_preloads(config.preload)),
        lambda: tls_context(tls) if tls is not None else None,
    ]
    for step in steps:
        try:
            step()
        except ConfigError as error:
            yield error.message
