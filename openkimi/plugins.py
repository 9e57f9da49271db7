"""Finds plugins, loads them without letting one break the others, and keeps what they offer."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal

import click
import msgspec
import pluggy

from openkimi import hookspecs
from openkimi.errors import ConfigError, PluginError
from openkimi.hookspecs import PROJECT
from openkimi.options import convert_options, suggest
from openkimi.patience import START_SECONDS, within
from openkimi.providers import ROLES, Provider, Role

ENTRY_POINT_GROUP = "openkimi"

COMPONENT_HOOKS: dict[str, Role] = {f"register_{role}s": role for role in ROLES}
"""The hooks that offer components, each with the role of what it offers."""

COMMANDS_HOOK = "register_commands"
OPTIONS_HOOK = "register_options"
APP_HOOKS = ("register_routes", "register_middleware", "lifespan", "wrap_backend")
"""The hooks that are called while an application is built or its engine opens."""
HOOKS = (*COMPONENT_HOOKS, COMMANDS_HOOK, OPTIONS_HOOK, *APP_HOOKS)
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


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PREFIX = f"{PROJECT}_"

Offer = Provider[Any] | click.Command | type[msgspec.Struct]


class PluginReport(msgspec.Struct, kw_only=True):
    """What became of one plugin; ``kinds`` lists its components by role, ``reason`` says why it failed.

    Of one that is in use the reason is something that it did wrong all the same. ``remedy`` says what to do
    about that, ``routes`` lists the methods and addresses that it serves. Those in ``public`` need no key;
    those in ``asks_public`` are to need none, which the config does not allow. One that shares its name with
    another (``shares_name``) is told from it by its module.
    """

    name: str
    module: str
    distribution: str | None = None
    version: str | None = None
    state: Literal["loaded", "failed", "blocked"] = "loaded"
    reason: str | None = None
    remedy: str | None = None
    hooks: list[str] = []
    kinds: dict[Role, list[str]] = {}
    commands: list[str] = []
    routes: list[str] = []
    public: list[str] = []
    asks_public: list[str] = []
    shares_name: bool = False

    def fail(self, error: BaseException, *, hook: str = "") -> None:
        """Note that the plugin cannot be used, and why."""
        self.state, self.reason = "failed", f"{hook}: {in_one_line(error)}" if hook else in_one_line(error)
        self.remedy = f"mend that, or {self.without}"
        for routes in (self.routes, self.public, self.asks_public):
            routes.clear()

    def note(self, reason: str, remedy: str) -> None:
        """Note what the plugin did wrong while it is in use; why it failed is not told any less for that."""
        if self.state != "failed":
            self.reason, self.remedy = reason, remedy

    @property
    def own_name(self) -> str:
        """What names the plugin and no other."""
        return self.module if self.shares_name else self.name

    @property
    def without(self) -> str:
        """What to do to be without the plugin."""
        return f'leave the plugin out: "plugins": {{"block": ["{self.own_name}"]}}'


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's implementation of a hook."""

    report: PluginReport
    name: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]

    def call(self, **given: object) -> Any:
        """Call the hook with those of its arguments that it wants.

        Raises:
            PluginError: it is a coroutine, or does not come to an end.
            Exception: whatever it raises.
        """
        wanted = {name: given[name] for name in self.arguments}
        what = f"the hook '{self.name}' of the plugin {self.report.name}"
        return within(START_SECONDS, lambda: _plain(self.function(**wanted)), what=what)


class Plugins:
    """The plugins of one application with everything they offer."""

    def __init__(self) -> None:
        self.reports: list[PluginReport] = []
        self.absent: list[str] = []
        self.modules: dict[str, set[str]] = {}
        self.commands: dict[str, list[tuple[str, click.Command]]] = {}
        self.app_hooks: list[Hook] = []
        self.options: dict[str, type[msgspec.Struct]] = {}
        self._offers: dict[Role, dict[str, list[tuple[PluginReport, Provider[Any]]]]] = {
            role: {} for role in ROLES
        }

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
            raise PluginError(self._clash(where, kind, [report.own_name for report, _ in offers]))
        raise PluginError(self._missing(where, role, kind))

    def report_of(self, role: Role, provider: Provider[Any]) -> PluginReport | None:
        """Return the report of the plugin that offers a kind; another loading of it has other providers."""
        for report, offered in self._offers[role].get(provider.kind, []):
            if offered.module == provider.module:
                return report
        return None

    def offered(self, plugin: PluginReport, role: Role, kind: str) -> Provider[Any]:
        """Return the kind that a plugin offers, whoever else does."""
        return next(provider for report, provider in self._offers[role][kind] if report is plugin)

    def options_of(self, raw: Mapping[str, Mapping[str, Any]]) -> dict[str, msgspec.Struct]:
        """Check the config's ``plugins.options`` and return those of each plugin that has some.

        Raises:
            ConfigError: they are wrong, or their plugin takes none, or is not there.
        """
        for name in raw:
            if name not in self.options:
                raise ConfigError(f"plugins.options.{name}: {self._no_options(name)}")
        return {
            name: convert_options(raw.get(name, {}), struct, where=f"plugins.options.{name}")
            for name, struct in self.options.items()
        }

    def refuse_absent(self) -> None:
        """Refuse a config that names a module which is not there: it wants what the module would do.

        Raises:
            ConfigError: there is such a name in its ``plugins.load``.
        """
        if self.absent:
            raise ConfigError(self.absent[0])

    def check_public(self, names: Sequence[str]) -> None:
        """Check the config's ``plugins.public``.

        Raises:
            ConfigError: there is no plugin of a name.
        """
        known = sorted({report.name for report in self.reports})
        for index, name in enumerate(names):
            if name not in known:
                says = self._module_named(name) or f"there is no plugin '{name}'; {suggest(name, known)}"
                raise ConfigError(f"plugins.public[{index}]: {says}")

    def offer(self, report: PluginReport, hook: str, offered: Offer) -> None:
        """Enter what a plugin's hook offers: options, a command, or a provider under its kind and aliases."""
        if isinstance(offered, type):
            self.options[report.name] = offered
            return
        if isinstance(offered, click.Command):
            name = str(offered.name)
            self.commands.setdefault(name, []).append((report.own_name, offered))
            report.commands.append(name)
            return
        role = COMPONENT_HOOKS[hook]
        for name in (offered.kind, *offered.aliases):
            self._offers[role].setdefault(name, []).append((report, offered))
        report.kinds.setdefault(role, []).append(offered.kind)

    def _no_options(self, name: str) -> str:
        report = next((report for report in self.reports if report.name == name), None)
        if report is None:
            no_such = f"there is no such plugin with options; {suggest(name, sorted(self.options))}"
            return self._module_named(name) or no_such
        if report.state != "loaded":
            return f"the plugin is {report.state}: {report.reason}"
        return "the plugin takes no options"

    def _module_named(self, name: str) -> str | None:
        """Tell the name of the plugin whose module or distribution was named instead."""
        module = name.replace("-", "_")
        for report in self.reports:
            if module == _module_of(report):
                return f"the plugin of that module is named '{report.name}'"
        return None

    def _clash(self, where: str, kind: str, names: Sequence[str]) -> str:
        return (
            f"{where}: the kind '{kind}' is offered by the plugins {' and '.join(names)}; "
            'name all but one of them in "plugins": {"block": [...]}'
        )

    def _missing(self, where: str, role: Role, kind: str) -> str:
        known = sorted(self._offers[role])
        failed = [
            f"{report.own_name} ({report.reason})"
            for report in self.reports
            if report.state == "failed" or (report.state == "loaded" and not report.hooks)
        ]
        broken = f"; plugins that failed: {', '.join(failed)}" if failed else ""
        return f"{where}: no plugin offers the {role} '{kind}'; {suggest(kind, known)}{broken}"


def load_plugins(
    load: Sequence[str] = (), block: Sequence[str] = (), plugins: Iterable[object] = ()
) -> Plugins:
    """Load the installed plugins, the modules named by ``load`` and the objects in ``plugins``.

    Installed ones are loaded in the order of their names, and a module once, however it is named. One that
    fails is reported, not raised, and so is a name in ``load`` that is no module.
    """
    found, objects = Plugins(), [(_name_of_object(plugin), plugin) for plugin in plugins]
    installed = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    for name, module in (
        *((point.name, point.value) for point in installed),
        *((_name_of(module), module) for module in (*load, *dict(objects))),
    ):
        found.modules.setdefault(name, set()).add(module)
    for entry_point in installed:
        _load_entry_point(found, entry_point, block)
    for index, module in enumerate(load):
        _load_module(found, module, block, where=f"plugins.load[{index}]")
    for module, plugin in objects:
        if isinstance(plugin, ModuleType) and any(report.module == module for report in found.reports):
            continue
        _register(found, plugin, _report(found, _name_of(module), module))
    return found


def _report(found: Plugins, name: str, module: str) -> PluginReport:
    return PluginReport(name=name, module=module, shares_name=len(found.modules[name]) > 1)


def _name_of_object(plugin: object) -> str:
    return str(getattr(plugin, "__name__", type(plugin).__name__))


def _name_of(module: str) -> str:
    """Name the plugin of a module that no entry point names: ``openkimi_tide`` is ``tide``."""
    return module.removeprefix(_PREFIX) or module


def _module_of(report: PluginReport) -> str:
    return report.module.partition(":")[0]


def _load_entry_point(found: Plugins, entry_point: EntryPoint, block: Sequence[str]) -> None:
    report = _report(found, entry_point.name, entry_point.value)
    report.distribution, report.version = _origin(entry_point.dist)
    _import(found, report, block)


@lru_cache(maxsize=32)
def _origin(distribution: Distribution | None) -> tuple[str | None, str | None]:
    """Read the name and version of a distribution, for all its entry points at once: it parses a README."""
    if distribution is None:
        return None, None
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _load_module(found: Plugins, module: str, block: Sequence[str], *, where: str) -> None:
    if any(report.module == module for report in found.reports):
        return
    report = _report(found, _name_of(module), module)
    if _exists(module):
        _import(found, report, block)
        return
    meant = _meant(module)
    maybe = f"; did you mean '{meant}'?" if meant else ""
    report.state, report.reason = "failed", f"no module named '{module}'{maybe}"
    report.remedy = f"mend its name in {where}, or put its folder on PYTHONPATH"
    found.reports.append(report)
    found.absent.append(f"{where}: {report.reason}" + ("" if maybe else "; is its folder on PYTHONPATH?"))


def _meant(module: str) -> str | None:
    """Guess the module of a plugin that was called by its distribution's name, or by its own."""
    plain = module.replace("-", "_")
    there = (name for name in (plain, f"{_PREFIX}{plain}") if name != module and _exists(name))
    return next(there, plain if plain != module else None)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
    except (Exception, SystemExit):  # noqa: BLE001 - a parent package that breaks is reported when imported
        return True


def _import(found: Plugins, report: PluginReport, block: Sequence[str]) -> None:
    if report.module in block or (report.name in block and report.name not in found.modules[report.name]):
        report.state, report.reason = "blocked", "named in plugins.block"
        found.reports.append(report)
        return
    try:
        plugin = _module(report.module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a stranger's module raises is its own
        report.fail(error)
        found.reports.append(report)
        return
    _register(found, plugin, report)


def _module(name: str) -> object:
    """Import a module, unless that is done or under way."""
    if (module := sys.modules.get(name)) is not None:
        return module
    return within(START_SECONDS, lambda: importlib.import_module(name), what=f"the import of {name}")


def _register(found: Plugins, plugin: object, report: PluginReport) -> None:
    found.reports.append(report)
    try:
        hooks = _hooks(plugin, report)
        _refuse_name(found, report)
        offers = [offer for hook in hooks for offer in _offers(hook)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        report.fail(error)
        return
    if not hooks:
        report.reason, report.remedy = "has no hooks", "mark its functions with @hookimpl of openkimi"
    for hook, offered in offers:
        found.offer(report, hook, offered)
    found.app_hooks += [hook for hook in hooks if hook.name in APP_HOOKS]


def _hooks(plugin: object, report: PluginReport) -> list[Hook]:
    """List the hooks that a plugin implements.

    Raises:
        PluginError: it marks as a hook what is none.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=report.name)
    found: list[Hook] = []
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.name not in HOOKS:
            raise PluginError(f"'{caller.name}' is no hook; {suggest(caller.name, sorted(HOOKS))}")
        report.hooks.append(caller.name)
        found += [
            Hook(report=report, name=caller.name, function=each.function, arguments=each.argnames)
            for each in caller.get_hookimpls()
        ]
    return found


def _refuse_name(found: Plugins, report: PluginReport) -> None:
    """Refuse a plugin for applications whose name cannot be told from another's or stand in an address."""
    if not {*APP_HOOKS, OPTIONS_HOOK} & set(report.hooks):
        return
    if not _NAME.fullmatch(report.name):
        raise PluginError(f"the name '{report.name}' cannot stand in an address: use letters, digits and _.-")
    if any(other.name == report.name and other is not report for other in found.reports):
        raise PluginError(f"another plugin is named {report.name} too")


def _offers(hook: Hook) -> Iterator[tuple[str, Offer]]:
    """Call a hook by itself, so that its failure is its plugin's own; those of the application wait."""
    if hook.name in APP_HOOKS:
        return
    if hook.name == OPTIONS_HOOK:
        yield hook.name, _checked_options(hook.call())
        return
    for offered in _several(hook.call(), hook.name):
        yield hook.name, _checked(offered, hook.name)


def _plain(returned: object) -> object:
    """Run a generator to its end, and refuse what ``async def`` makes of a hook."""
    if inspect.iscoroutine(returned):
        returned.close()
        raise PluginError("a hook is a plain function: write it with def, not with async def")
    return list(returned) if inspect.isgenerator(returned) else returned


def _several(returned: object, hook: str) -> Iterable[object]:
    if isinstance(returned, str) or not isinstance(returned, Iterable | None):
        raise PluginError(f"{hook} must return a list, not {type(returned).__name__}")
    return returned or ()


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


def _checked_options(offered: object) -> type[msgspec.Struct]:
    if not (isinstance(offered, type) and issubclass(offered, msgspec.Struct)):
        raise PluginError(f"{OPTIONS_HOOK} must return a subclass of msgspec.Struct, not {offered!r}")
    required = [field.name for field in msgspec.structs.fields(offered) if field.required]
    if required:
        raise PluginError(f"{OPTIONS_HOOK}: the option '{required[0]}' needs a default")
    return offered


def in_one_line(error: BaseException) -> str:
    """Name an error and what it says."""
    return " ".join(f"{type(error).__name__}: {error}".split())
