"""Plugins: loaded tolerantly, in a fixed order, and judged only by what the config asks for."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openkimi import ConfigError, PluginError, Provider, hookimpl
from openkimi.config import build_config
from openkimi.plugins import HOOKS, load_plugins


def plugin(**hooks: Any) -> SimpleNamespace:
    return SimpleNamespace(__name__="ours", **{name: hookimpl(hook) for name, hook in hooks.items()})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path for modules of a test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("made_"):
            del sys.modules[name]


def test_first_party_plugins_are_found_by_their_entry_points() -> None:
    """The installed distribution offers all its kinds, in the order of the plugins' names."""
    found = load_plugins()

    assert [report.name for report in found.reports] == sorted(report.name for report in found.reports)
    assert [report.reason for report in found.reports if report.state == "failed"] == []
    assert found.provider("backend", "dummy") is found.provider("backend", "scripted")
    assert found.provider("backend", "local").kind == "llama-cpp"
    assert found.provider("backend", "api").kind == "openai"
    for role, kind in (("embedder", "use"), ("processor", "entropy"), ("retriever", "lancedb")):
        assert found.provider(role, kind).kind == kind  # type: ignore[arg-type]


def test_a_plugin_that_fails_to_import_is_reported_and_the_others_go_on(module: Path) -> None:
    """An import error is a line in the report and no exception."""
    (module / "made_broken.py").write_text("raise RuntimeError('no luck')")

    found = load_plugins(load=["made_broken"])

    report = found.reports[-1]
    assert (report.name, report.state, report.reason) == ("made_broken", "failed", "RuntimeError: no luck")
    assert found.provider("backend", "dummy")


def test_a_missing_kind_names_the_plugin_that_failed(module: Path) -> None:
    """Only when the config asks for a kind nobody offers does a broken plugin matter."""
    (module / "made_broken.py").write_text("import no_such_dependency")
    found = load_plugins(load=["made_broken"])

    with pytest.raises(PluginError, match=r"no plugin offers the backend 'x'.*made_broken.*no_such_dep"):
        found.provider("backend", "x")


def test_a_misspelt_hook_is_reported() -> None:
    """A hook implementation that matches no hook fails its plugin and says which was meant."""

    def register_backend() -> list[Any]:
        return []

    found = load_plugins(plugins=[plugin(register_backend=register_backend)])

    assert (
        found.reports[-1].reason
        == "PluginError: 'register_backend' is no hook; did you mean 'register_backends'?"
    )


def test_a_hook_that_returns_something_else_is_reported() -> None:
    """Hooks return providers."""
    found = load_plugins(plugins=[plugin(register_backends=lambda: ["dummy"])])

    assert "must return openkimi.Provider objects, not str" in (found.reports[-1].reason or "")


def test_a_hook_that_returns_one_thing_is_told_to_return_a_list() -> None:
    """A provider by itself is no list of providers."""
    one = Provider("one", open=None)  # type: ignore[arg-type]

    found = load_plugins(plugins=[plugin(register_backends=lambda: one)])

    assert found.reports[-1].reason == "PluginError: register_backends must return a list, not Provider"


def test_a_plugin_without_a_hook_is_told_so() -> None:
    """It loads and does nothing; most likely its hooks are not marked."""

    def register_backends() -> list[Any]:
        return []

    found = load_plugins(plugins=[SimpleNamespace(__name__="ours", register_backends=register_backends)])

    report = found.reports[-1]
    assert (report.state, report.reason) == ("loaded", "has no hooks")
    assert "@hookimpl" in (report.remedy or "")
    with pytest.raises(PluginError, match=r"no plugin offers the backend 'x'.*ours \(has no hooks\)"):
        found.provider("backend", "x")


def test_two_plugins_with_one_kind_clash_only_when_it_is_chosen() -> None:
    """Load order never decides: the config has to block one of them."""

    def offer() -> list[Provider[Any]]:
        return [Provider("dummy", open=None)]  # type: ignore[arg-type]

    found = load_plugins(plugins=[plugin(register_backends=offer)])

    assert found.provider("backend", "scripted")
    with pytest.raises(PluginError, match="offered by the plugins scripted and ours"):
        found.provider("backend", "dummy")
    assert load_plugins(block=["scripted"], plugins=[plugin(register_backends=offer)]).provider(
        "backend", "dummy"
    )


def test_a_blocked_plugin_is_not_even_imported(module: Path) -> None:
    """plugins.block keeps a module's code from running."""
    (module / "made_loud.py").write_text("raise SystemError")

    found = load_plugins(load=["made_loud"], block=["made_loud"])

    assert found.reports[-1].state == "blocked"
    assert "made_loud" not in sys.modules


def test_a_plugin_has_one_name_whether_it_is_installed_or_not(module: Path) -> None:
    """The module openkimi_tide is the plugin tide, as the entry points of such modules are named."""
    (module / "openkimi_made_tide.py").write_text("raise RuntimeError('no luck')")
    installed = {report.name for report in load_plugins().reports if report.module == "openkimi_metrics"}

    report = load_plugins(load=["openkimi_made_tide"]).reports[-1]

    assert installed == {"metrics"}
    assert (report.name, report.module) == ("made_tide", "openkimi_made_tide")


def test_a_module_that_is_not_there_is_reported_and_an_error_of_a_config() -> None:
    """The others are listed beside it; a gateway without what its config names would be another one."""
    report = load_plugins(load=["made_nowhere"]).reports[-1]

    assert (report.state, report.reason) == ("failed", "no module named 'made_nowhere'")
    assert report.remedy == "mend its name in plugins.load[0], or put its folder on PYTHONPATH"
    with pytest.raises(ConfigError, match=r"plugins.load\[0\]: no module named 'made_nowhere'"):
        build_config({"plugins": {"load": ["made_nowhere"]}})


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        (
            {"load": ["openkimi-made-tide"]},
            "plugins.load[0]: no module named 'openkimi-made-tide'; did you mean 'openkimi_made_tide'?",
        ),
        (
            {"load": ["made_tide"]},
            "plugins.load[0]: no module named 'made_tide'; did you mean 'openkimi_made_tide'?",
        ),
        ({"load": ["a-b"]}, "plugins.load[0]: no module named 'a-b'; did you mean 'a_b'?"),
        (
            {"load": ["openkimi_made_tide"], "options": {"openkimi_made_tide": {}}},
            "plugins.options.openkimi_made_tide: the plugin of that module is named 'made_tide'",
        ),
        (
            {"load": ["openkimi_made_tide"], "public": ["openkimi-made-tide"]},
            "plugins.public[0]: the plugin of that module is named 'made_tide'",
        ),
    ],
)
def test_a_plugin_that_goes_by_another_name_is_told_its_own(module: Path, plugins: Any, message: str) -> None:
    """Module, distribution and plugin have three names, and each is taken for another one."""
    (module / "openkimi_made_tide.py").write_text("")

    with pytest.raises(ConfigError) as error:
        build_config({"plugins": plugins})

    assert error.value.message == message


def test_a_plugin_for_another_contract_says_so() -> None:
    """A provider written for another version of the contracts is refused with the remedy."""
    with pytest.raises(PluginError, match="was written for contract 99"):
        Provider("old", open=None, contract=99)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="'odd': contract must be a whole number, not '1'"):
        Provider("odd", open=None, contract="1")  # type: ignore[arg-type]


def test_every_hook_has_a_docstring() -> None:
    """Each hook is documented where it is specified."""
    from openkimi import hookspecs

    assert all(getattr(hookspecs, name).__doc__ for name in HOOKS)
