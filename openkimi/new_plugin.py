"""The command ``openkimi new-plugin``: a package that passes its own tests as it is."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

import click
import msgspec

import openkimi
from openkimi.contracts import CONTRACT_VERSION
from openkimi.errors import ConfigError
from openkimi.plugins import SECTIONS
from openkimi.providers import ROLES, Role

Kind = Role | Literal["routes"]
KINDS: tuple[Kind, ...] = (*ROLES, "routes")
"""What a package can offer: a kind of component, or routes of the application."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_PLACEHOLDER = re.compile(r"%(\w+)%")
_COMMON = {"pyproject.toml": "pyproject.toml", "README.md": "README.md", "gitignore": ".gitignore"}


@click.command("new-plugin")
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it offers.")
@click.option(
    "--path", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where.  [default: here]"
)
def new_plugin(name: str, kind: Kind, path: Path) -> None:
    """Write a package for a plugin of your own, with a test of all that its contract promises.

    NAME is what users will write in the config, in small letters, digits and hyphens; of routes it is their
    address. The folder openkimi-NAME is new afterwards, and its tests pass as it is, installed or not.
    """
    values = _values(name.removeprefix("openkimi-"), kind)
    folder = path / values["distribution"]
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; take another NAME or another --path")
    try:
        _write(folder, kind, values)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    click.echo(f"{folder}: written. Try it:")
    click.echo(f"  cd {folder} && python -m pytest")


def _values(name: str, kind: Kind) -> dict[str, str]:
    """Tell what stands for each placeholder of the templates.

    Raises:
        click.BadParameter: a package cannot have the name.
    """
    if not _NAME.fullmatch(name):
        raise click.BadParameter(
            f"expected small letters, digits and single hyphens, got {name!r}", param_hint="NAME"
        )
    identifier = name.replace("-", "_")
    module = f"openkimi_{identifier}"
    if importlib.util.find_spec(module) is not None:
        raise click.BadParameter(f"there is a module {module} already; take another NAME", param_hint="NAME")
    return {
        "kind": name,
        "name": identifier,
        "module": module,
        "distribution": f"openkimi-{name}",
        "Class": "".join(part.title() for part in name.split("-")),
        "role": kind,
        "config": _config(kind, name),
        "contract": str(CONTRACT_VERSION),
        "version": ".".join(openkimi.__version__.split(".")[:2]),
    }


def _config(kind: Kind, name: str) -> str:
    """Write the config that chooses a component, or gives an option to routes."""
    config: dict[str, object]
    if kind == "routes":
        config = {"plugins": {"options": {name.replace("-", "_"): {"most": 3}}}}
    else:
        section, _, key = SECTIONS[kind].partition(".")
        config = {**({"mpr_candidates": 3} if section == "mpr" else {}), section: {key: name}}
    return msgspec.json.format(msgspec.json.encode(config), indent=0).decode()


def _write(folder: Path, kind: Kind, values: Mapping[str, str]) -> None:
    for place, template in _files(kind, values["module"]):
        text = _PLACEHOLDER.sub(lambda match: values[match[1]], template.read_text("utf-8"))
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    (folder / values["module"] / "py.typed").touch()


def _files(kind: Kind, module: str) -> Iterator[tuple[str, Traversable]]:
    """List the files of a package, each with its template: the kind's own, or else the common one."""
    templates = files(openkimi) / "templates"
    for template, place in _COMMON.items():
        own = templates / kind / f"{template}.txt"
        yield place, own if own.is_file() else templates / "common" / f"{template}.txt"
    yield f"{module}/__init__.py", templates / kind / "plugin.py.txt"
    yield f"{module}/{kind}.py", templates / kind / "component.py.txt"
    yield f"tests/test_{module}.py", templates / kind / "test.py.txt"
