"""Holds the components of an application to their contracts."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet, WeakValueDictionary

from openkimi.held import hold
from openkimi.origin import Origin
from openkimi.plugins import PluginReport, Plugins
from openkimi.providers import Provider, Role


class Holder:
    """Holds each component once, and notes on its plugin what it breaks, in every list that is in use."""

    def __init__(self) -> None:
        self._plugins = WeakSet[Plugins]()
        self._held = WeakValueDictionary[tuple[Role, int], Any]()

    def serve(self, plugins: Plugins) -> None:
        """Note on the plugins of this list, too, for as long as it lives."""
        self._plugins.add(plugins)

    def hold(self, component: Any, role: Role, provider: Provider[Any], where: str) -> Any:
        """Return the component that gives what another one does, as long as it is what it must be.

        The same one has the same in a role: what is opened for it is found by it.
        """
        key = (role, id(component))
        held = self._held.get(key)
        if held is None:
            origin = Origin(where, role, provider.kind, component, lambda: self._reports(role, provider))
            held = self._held[key] = hold(component, role, origin)
        return held

    def _reports(self, role: Role, provider: Provider[Any]) -> list[PluginReport]:
        found = [plugins.report_of(role, provider) for plugins in list(self._plugins)]
        return [report for report in found if report is not None]
