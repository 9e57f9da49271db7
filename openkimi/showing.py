"""The command ``openkimi config``: the configuration as it holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from openkimi.config import build_config, read_config
from openkimi.effective import Effective, effective
from openkimi.shell import config_path, takes_config


@click.command()
@takes_config
@click.option("--host", help="As for openkimi serve.")
@click.option("--port", type=click.IntRange(0, 65535), help="As for openkimi serve.")
@click.option("--mpr-candidates", type=click.IntRange(1, 32), help="As for openkimi serve.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(
    config: str | None, host: str | None, port: int | None, mpr_candidates: int | None, as_json: bool
) -> None:
    """Show every option with its value and where that comes from; secrets are hidden."""
    overrides: dict[str, tuple[str, Any]] = {
        "server.host": ("--host", host),
        "server.port": ("--port", port),
        "mpr_candidates": ("--mpr-candidates", mpr_candidates),
    }
    overrides = {option: given for option, given in overrides.items() if given[1] is not None}
    path = config_path(config)
    raw = read_config(path) if path else {}
    shown = effective(
        build_config(raw), raw, path=path, overrides={option: name for option, (name, _) in overrides.items()}
    )
    shown = [
        msgspec.structs.replace(each, value=overrides[each.option][1]) if each.option in overrides else each
        for each in shown
    ]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"config": path, "options": shown})).decode())
        return
    if path:
        named = "" if config else ", the environment's OPENKIMI_CONFIG_PATH"
        click.echo(f"# {Path(path).absolute()}{named}")
    click.echo("\n".join(_table(shown)))


def _table(shown: Iterable[Effective]) -> Iterable[str]:
    rows = [(each.option, msgspec.json.encode(each.value).decode(), _origin(each)) for each in shown]
    widths = [min(60, max(len(row[at]) for row in rows)) for at in (0, 1)]
    for option, value, origin in rows:
        yield f"{option:{widths[0]}}  {value:{widths[1]}}  {origin}"


def _origin(each: Effective) -> str:
    return f"{each.origin} {each.source}" if each.origin in {"environment", "command line"} else each.origin
