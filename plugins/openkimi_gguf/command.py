"""The small command behind ``python -m openkimi_gguf.models``."""

from __future__ import annotations

import logging
import sys

import click
import structlog

from openkimi import ConfigError
from openkimi_gguf.fetching import hub_cache, stored
from openkimi_gguf.models import CATALOGUE, CatalogueEntry, locate, resolve
from openkimi_gguf.sources import HubSource


@click.group()
def main() -> None:
    """Show and fetch the models that are known by name."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@main.command("list")
def list_models() -> None:
    """List the catalogue."""
    for entry in CATALOGUE.values():
        size = f"{entry.size / 1e6:.0f} MB" if entry.size else "-"
        state = "fetched" if stored(entry) else "not fetched"
        click.echo(f"{entry.name:24} {size:>7}  {','.join(entry.languages):6} {entry.license:11} {state}")


@main.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch a model, by catalogue name or hf:owner/repo/file.gguf, and print its path."""
    try:
        click.echo(str(resolve(name)))
    except ConfigError as error:
        raise click.ClickException(error.message) from error


@main.command()
@click.argument("name")
def path(name: str) -> None:
    """Print the path of a model that is here already; fetch nothing."""
    try:
        found = _here(name)
    except ConfigError as error:
        raise click.ClickException(error.message) from error
    if found is None:
        raise click.ClickException(f"{name} has not been fetched: python -m openkimi_gguf.models pull {name}")
    click.echo(found)


def _here(name: str) -> str | None:
    place = locate(name)
    if isinstance(place, CatalogueEntry):
        return str(path) if (path := stored(place)) else None
    if isinstance(place, HubSource):
        return str(path) if (path := place.cached(hub_cache())) else None
    return str(place)


if __name__ == "__main__":
    main(prog_name="python -m openkimi_gguf.models")
