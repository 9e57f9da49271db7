"""``openkimi new-plugin`` writes packages that are sound as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from openkimi.cli import main
from openkimi.config import build_config
from openkimi.new_plugin import KINDS
from openkimi.plugins import COMPONENT_HOOKS
from openkimi.providers import ROLES

ROOT = Path(__file__).parents[1]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_role = pytest.mark.parametrize("kind", ROLES)


def new(folder: Path, kind: str, name: str = "sea-breeze") -> Result:
    return CliRunner().invoke(main, ["new-plugin", name, "--kind", kind, "--path", str(folder)])


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Run a command of this Python, without plugins of pytest, that must succeed; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@each_kind
def test_its_own_tests_pass_at_once(tmp_path: Path, kind: str) -> None:
    """Each kind of package passes its tests as it is, from its own folder, without being installed."""
    assert new(tmp_path, kind).exit_code == 0

    printed = run("pytest", "-p", "no:cacheprovider", cwd=tmp_path / "openkimi-sea-breeze")

    assert int(re.findall(r"(\d+) passed", printed)[-1]) > (30 if kind in ROLES else 5)


@pytest.mark.parametrize("more", [(), ("-p", "no:asyncio")], ids=["pytest-asyncio", "without it"])
def test_its_tests_run_without_a_warning(tmp_path: Path, more: tuple[str, ...]) -> None:
    """Whether pytest-asyncio is there or not, it has nothing to say to a package that does not use it."""
    new(tmp_path, "sampler")
    folder = tmp_path / "openkimi-sea-breeze"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "wrong_option", *more]

    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)

    assert "arning" not in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["sampler", "routes"])
def test_its_tests_pass_when_it_is_installed(tmp_path: Path, kind: str) -> None:
    """An entry point and the tests name the same module, which is loaded once, under the same name."""
    new(tmp_path, kind)
    folder = tmp_path / "openkimi-sea-breeze"
    installed = tmp_path / "site" / "openkimi_sea_breeze-0.1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: openkimi-sea-breeze\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text("[openkimi]\nsea_breeze = openkimi_sea_breeze\n")
    found = os.pathsep.join((str(installed.parent), str(folder), os.environ.get("PYTHONPATH", "")))

    listed = run("openkimi", "plugins", cwd=tmp_path, PYTHONPATH=found)
    run("pytest", "-p", "no:cacheprovider", "-k", "config or callers", cwd=folder, PYTHONPATH=found)

    assert "sea_breeze openkimi-sea-breeze 0.1.0: loaded" in listed


def test_they_pass_the_linter_and_the_type_checker(tmp_path: Path) -> None:
    """Every template keeps the style of the project, is formatted, and is typed to the last word."""
    packages = []
    for kind in KINDS:
        new(tmp_path, kind, f"a-{kind}")
        packages += ["-p", f"openkimi_a_{kind}"]
        folder = tmp_path / f"openkimi-a-{kind}"

        run("ruff", "check", "--no-cache", "--config", ROOT / "pyproject.toml", ".", cwd=folder)
        run("ruff", "format", "--no-cache", "--check", "--config", ROOT / "pyproject.toml", ".", cwd=folder)

    cache = ROOT / ".mypy_cache" / "new_plugin"
    paths = os.pathsep.join(str(tmp_path / f"openkimi-a-{kind}") for kind in KINDS)
    run("mypy", "--strict", "--cache-dir", cache, *packages, cwd=tmp_path, MYPYPATH=paths)


@each_role
def test_its_readme_shows_a_config_that_works(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the README says to write in config.json chooses the kind, with the module on PYTHONPATH."""
    new(tmp_path, kind, f"readme-{kind}")
    folder = tmp_path / f"openkimi-readme-{kind}"
    monkeypatch.syspath_prepend(folder)
    [shown] = re.findall(r"```json\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)

    config = build_config({**json.loads(shown), "plugins": {"load": [f"openkimi_readme_{kind}"]}})

    chosen = getattr(config, kind)
    assert chosen.provider.kind == f"readme-{kind}"
    assert chosen.provider.contract == 1


def test_the_readme_of_routes_shows_a_config_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option that the README sets is the plugin's, with the module on PYTHONPATH."""
    new(tmp_path, "routes", "readme-routes")
    monkeypatch.syspath_prepend(tmp_path / "openkimi-readme-routes")
    readme = (tmp_path / "openkimi-readme-routes" / "README.md").read_text()
    [shown] = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)

    plugins = {"load": ["openkimi_readme_routes"], **json.loads(shown)["plugins"]}
    options = build_config({"plugins": plugins}).plugin_options

    assert msgspec.to_builtins(options["readme_routes"]) == {"most": 3}


@each_kind
def test_it_can_be_packaged(tmp_path: Path, kind: str) -> None:
    """The package has an entry point in the group of OpenKimi, and its files bear its name."""
    printed = new(tmp_path, kind).output
    folder = tmp_path / "openkimi-sea-breeze"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]

    assert project["entry-points"] == {"openkimi": {"sea_breeze": "openkimi_sea_breeze"}}
    assert (project["name"], "license" in project) == ("openkimi-sea-breeze", False)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "openkimi_sea_breeze/__init__.py",
        f"openkimi_sea_breeze/{kind}.py",
        "openkimi_sea_breeze/py.typed",
        "tests/test_openkimi_sea_breeze.py",
    }
    assert "python -m pytest" in printed
    assert not [path for path in folder.rglob("*.*") if re.search(r"%\w+%", path.read_text())]


@pytest.mark.parametrize("name", ["Parrot", "my_plugin", "1st", "", "-x", "a b", "../x", "x--y"])
def test_a_name_that_no_package_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """A NAME is small letters, digits and hyphens."""
    result = CliRunner().invoke(
        main, ["new-plugin", "--kind", "backend", "--path", str(tmp_path), "--", name]
    )

    assert result.exit_code == 2
    assert "small letters" in result.output
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that is there, and a module that is installed, are left alone."""
    new(tmp_path, "backend")
    again = new(tmp_path, "sampler")
    taken = new(tmp_path, "backend", "openai")

    assert (again.exit_code, taken.exit_code) == (2, 2)
    assert "is there already" in again.output
    assert "openkimi_openai" in taken.output
    assert (tmp_path / "openkimi-sea-breeze/openkimi_sea_breeze/backend.py").is_file()


def test_every_component_hook_has_a_template() -> None:
    """There is a template for each kind of component that a plugin can offer, and for routes."""
    folders = {folder.name for folder in (ROOT / "openkimi/templates").iterdir()}

    assert folders == {"common", *COMPONENT_HOOKS.values(), "routes"}
