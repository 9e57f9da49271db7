"""Finds plugins, loads them without letting one break the others, and keeps what they offer."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal

import click
import msgspec
import pluggy

from openkimi import hookspecs
from openkimi.errors import ConfigError, PluginError
from openkimi.hookspecs import PROJECT
from openkimi.options import suggest
from openkimi.providers import ROLES, Provider, Role

ENTRY_POINT_GROUP = "openkimi"

COMPONENT_HOOKS: dict[str, Role] = {f"register_{role}s": role for role in ROLES}
"""The hooks that offer components, each with the role of what it offers."""

COMMANDS_HOOK = "register_commands"
HOOKS = (*COMPONENT_HOOKS, COMMANDS_HOOK)
"""The names of all hooks."""

SECTIONS: dict[Role, str] = {
    "backend": "llm.type",
    "embedder": "embedder.type",
    "processor": "processor.type",
    "retriever": "rag.type",
    "sampler": "mpr.sampling",
    "synthesizer": "mpr.synthesis",
}
"""The place in the config where each role's kind is chosen."""


class PluginReport(msgspec.Struct, kw_only=True):
    """What became of one plugin; ``kinds`` lists its components by role, ``reason`` says why it failed."""

    name: str
    module: str
    distribution: str | None = None
    version: str | None = None
    state: Literal["loaded", "failed", "blocked"] = "loaded"
    reason: str | None = None
    hooks: list[str] = []
    kinds: dict[Role, list[str]] = {}
    commands: list[str] = []


class Plugins:
    """The plugins of one application with everything they offer."""

    def __init__(self) -> None:
        self.reports: list[PluginReport] = []
        self.commands: dict[str, list[tuple[str, click.Command]]] = {}
        self._offers: dict[Role, dict[str, list[tuple[str, Provider[Any]]]]] = {role: {} for role in ROLES}

    def providers(self, role: Role) -> list[Provider[Any]]:
        """List what is offered for a role, by kind."""
        return [
            offers[0][1] for kind, offers in sorted(self._offers[role].items()) if offers[0][1].kind == kind
        ]

    def provider(self, role: Role, kind: str, *, where: str = "") -> Provider[Any]:
        """Return the one provider of a kind or alias; ``where`` is its place in the config.

        Raises:
            PluginError: nobody offers the kind, or several plugins do.
        """
        where = where or SECTIONS[role]
        offers = self._offers[role].get(kind, [])
        if len(offers) == 1:
            return offers[0][1]
        if offers:
            raise PluginError(self._clash(where, kind, [name for name, _ in offers]))
        raise PluginError(self._missing(where, role, kind))

    def offer(self, report: PluginReport, hook: str, offered: Provider[Any] | click.Command) -> None:
        """Enter what a plugin's hook offers: a command, or a provider under its kind and its aliases."""
        if isinstance(offered, click.Command):
            name = str(offered.name)
            self.commands.setdefault(name, []).append((report.name, offered))
            report.commands.append(name)
            return
        role = COMPONENT_HOOKS[hook]
        for name in (offered.kind, *offered.aliases):
            self._offers[role].setdefault(name, []).append((report.name, offered))
        report.kinds.setdefault(role, []).append(offered.kind)

    def _clash(self, where: str, kind: str, names: Sequence[str]) -> str:
        return (
            f"{where}: the kind '{kind}' is offered by the plugins {' and '.join(names)}; "
            'name all but one of them in "plugins": {"block": [...]}'
        )

    def _missing(self, where: str, role: Role, kind: str) -> str:
        known = sorted(self._offers[role])
        failed = [f"{report.name} ({report.reason})" for report in self.reports if report.state == "failed"]
        broken = f"; plugins that failed to load: {', '.join(failed)}" if failed else ""
        return f"{where}: no plugin offers the {role} '{kind}'; {suggest(kind, known)}{broken}"


def load_plugins(
    load: Sequence[str] = (), block: Sequence[str] = (), plugins: Iterable[object] = ()
) -> Plugins:
    """Load the installed plugins, the modules named by ``load`` and the objects in ``plugins``.

    Installed ones are loaded in the order of their names, and a module once, however it is named. One that
    fails is reported, not raised.

    Raises:
        ConfigError: a name in ``load`` is no module that can be found.
    """
    found = Plugins()
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        _load_entry_point(found, entry_point, block)
    for index, module in enumerate(load):
        _load_module(found, module, block, where=f"plugins.load[{index}]")
    for plugin in plugins:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        if isinstance(plugin, ModuleType) and any(report.module == name for report in found.reports):
            continue
        _register(found, plugin, PluginReport(name=name, module=name))
    return found


def _load_entry_point(found: Plugins, entry_point: EntryPoint, block: Sequence[str]) -> None:
    distribution = entry_point.dist
    report = PluginReport(
        name=entry_point.name,
        module=entry_point.value,
        distribution=distribution.name if distribution else None,
        version=distribution.version if distribution else None,
    )
    _import(found, report, block)


def _load_module(found: Plugins, module: str, block: Sequence[str], *, where: str) -> None:
    if any(report.module == module for report in found.reports):
        return
    if not _exists(module):
        raise ConfigError(f"{where}: no module named '{module}'; is its folder on PYTHONPATH?")
    _import(found, PluginReport(name=module, module=module), block)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
    except (Exception, SystemExit):  # noqa: BLE001 - a parent package that breaks is reported when imported
        return True


def _import(found: Plugins, report: PluginReport, block: Sequence[str]) -> None:
    if report.name in block or report.module in block:
        report.state, report.reason = "blocked", "named in plugins.block"
        found.reports.append(report)
        return
    try:
        plugin = importlib.import_module(report.module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a stranger's module raises is its own
        _fail(report, error)
        found.reports.append(report)
        return
    _register(found, plugin, report)


def _register(found: Plugins, plugin: object, report: PluginReport) -> None:
    found.reports.append(report)
    try:
        offers = list(_offers(plugin, report))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        _fail(report, error)
        return
    for hook, offered in offers:
        found.offer(report, hook, offered)


def _offers(plugin: object, report: PluginReport) -> Iterator[tuple[str, Provider[Any] | click.Command]]:
    """Call each hook of one plugin by itself, so that its failure is its own."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=report.name)
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.name not in HOOKS:
            raise PluginError(f"'{caller.name}' is no hook; {suggest(caller.name, sorted(HOOKS))}")
        report.hooks.append(caller.name)
        for implementation in caller.get_hookimpls():
            offers: Any = implementation.function()
            for offered in offers or ():
                yield caller.name, _checked(offered, caller.name)


def _checked(offered: object, hook: str) -> Provider[Any] | click.Command:
    if hook == COMMANDS_HOOK:
        if not isinstance(offered, click.Command):
            raise PluginError(f"{hook} must return click.Command objects, not {type(offered).__name__}")
        if not offered.name:
            raise PluginError(f"{hook} returned a command without a name")
        return offered
    if not isinstance(offered, Provider):
        raise PluginError(f"{hook} must return openkimi.Provider objects, not {type(offered).__name__}")
    return offered


def _fail(report: PluginReport, error: BaseException) -> None:
    report.state = "failed"
    report.reason = " ".join(f"{type(error).__name__}: {error}".split())
    report.kinds.clear()
