"""The command ``openkimi models``, also ``python -m openkimi_gguf.models``."""

from __future__ import annotations

import logging
import sys

import click
import msgspec
import structlog

from openkimi import ConfigError
from openkimi_gguf.catalogue import CATALOGUE, CatalogueEntry, Purpose
from openkimi_gguf.fetching import obtain, on_hub, place_of, stored
from openkimi_gguf.hub import HubSource
from openkimi_gguf.models import locate
from openkimi_gguf.progress import drawn, logged


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the catalogue as ``list --json`` shows it; ``path`` is None until it is fetched."""

    name: str
    purpose: Purpose
    size: int | None
    languages: tuple[str, ...]
    license: str
    path: str | None


@click.group()
def models() -> None:
    """Show and fetch the models that are known by name."""
    log_to_stderr()


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the catalogue."""
    listed = [_listed(entry) for entry in CATALOGUE.values()]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed)).decode())
        return
    for model in listed:
        size = f"{model.size / 1e6:.0f} MB" if model.size else "-"
        state = "fetched" if model.path else "not fetched"
        click.echo(
            f"{model.name:24} {model.purpose:9} {size:>7}  {','.join(model.languages):6} "
            f"{model.license:11} {state}"
        )


@models.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch a model, by catalogue name or hf:owner/repo/file.gguf, and print its path.

    One that was interrupted goes on where it ended, if it comes from the hub.
    """
    try:
        click.echo(str(obtain(locate(name), report=drawn if sys.stderr.isatty() else logged)))
    except ConfigError as error:
        raise click.ClickException(error.message) from error


@models.command()
@click.argument("name")
def path(name: str) -> None:
    """Print the path of a model that is here already; fetch nothing."""
    try:
        found = _here(name)
    except ConfigError as error:
        raise click.ClickException(error.message) from error
    if found is None:
        raise click.ClickException(f"{name} has not been fetched: openkimi models pull {name}")
    click.echo(found)


def log_to_stderr() -> None:
    """Keep the output for what a command prints: logs go to standard error, without the details."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Looked up anew for each line: while a bar is drawn, standard error is the bar's.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _listed(entry: CatalogueEntry) -> Listed:
    path = place_of(entry)
    here = path.is_file() and entry.size in (None, path.stat().st_size)
    return Listed(
        name=entry.name,
        purpose=entry.purpose,
        size=entry.size,
        languages=entry.languages,
        license=entry.license,
        path=str(path) if here else None,
    )


def _here(name: str) -> str | None:
    place = locate(name)
    if isinstance(place, CatalogueEntry):
        return str(path) if (path := stored(place)) else None
    if isinstance(place, HubSource):
        return str(path) if (path := on_hub(place)) else None
    return str(place)


if __name__ == "__main__":
    models(prog_name="python -m openkimi_gguf.models")
