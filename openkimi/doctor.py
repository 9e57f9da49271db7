"""The command ``openkimi doctor``: looks at all that OpenKimi needs, and says what to do."""

from __future__ import annotations

import sys

import click
import msgspec

from openkimi.diagnosis import Finding
from openkimi.logs import configure_logging
from openkimi.shell import config_path, takes_config, wrapped

_INDENT = " " * 6
_MARKS = {"good": "  ok", "warning": "note", "broken": "FAIL"}


@click.command()
@takes_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(config: str | None, as_json: bool) -> None:
    """Look for what keeps the gateway from working, and say what to do; ends with 1 where something is."""
    from openkimi.examining import examine

    configure_logging("error")
    found: list[Finding] = []
    for finding in examine(config_path(config)):
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    if any(finding.state == "broken" for finding in found):
        sys.exit(1)


def _show(finding: Finding) -> None:
    _say(f"{_MARKS[finding.state]}  {finding.what}: {finding.says}")
    if finding.remedy:
        _say(f"{_INDENT}{finding.remedy}")


def _say(line: str) -> None:
    click.echo(wrapped(line, sys.stdout, indent=_INDENT))
