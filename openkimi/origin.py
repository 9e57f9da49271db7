"""Where a component comes from, to name it and its plugin when it breaks its contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from weakref import ref

import structlog

from openkimi.errors import BackendError, OpenKimiError, PluginError
from openkimi.plugins import PluginReport
from openkimi.providers import Role
from openkimi.raised import kind_of_error, place_of

log = structlog.get_logger()

_OF_THE_MODEL: frozenset[Role] = frozenset({"backend", "embedder"})
_MOST_TOLD = 100
_NUMBER = re.compile(r"\b\d+\b")


class Origin:
    """The place in the config where a component was chosen, its kind and class, and its plugin's reports.

    ``instead`` is what to do without it, by default to choose another kind.
    """

    def __init__(
        self,
        where: str,
        role: Role,
        kind: str,
        component: object,
        reports: Callable[[], Iterable[PluginReport]],
        *,
        instead: str = "",
    ) -> None:
        self.kind = kind
        self.name = type(component).__qualname__
        self.module = type(component).__module__
        self.where = where
        self.role: Role = role
        self._reports = reports
        self._remedy = f"tell the plugin's author, or {instead or f'choose another {where}'}"
        self._told = set[str]()
        self._last: Callable[[], OpenKimiError | None] = lambda: None

    @property
    def described(self) -> str:
        """The component as the config names it, and its plugin."""
        plugin = next((report.name for report in self._reports()), None)
        return f"the {self.role} '{self.kind}'" + (f" of the plugin {plugin}" if plugin else "")

    def broke(self, method: str, promised: str, given: str) -> OpenKimiError:
        """Note on the plugin that a method gave something else than promised, and return the error for that.

        It names types, shapes and numbers, and nothing of a text.
        """
        what = f"{self.name}.{method} must {promised}, not {given}"
        self._note("contract_broken", what)
        kind = BackendError if self.role in _OF_THE_MODEL else PluginError
        error = kind(
            f"{self.where}: the {self.role} '{self.kind}' breaks its contract: {what}; {self._remedy}"
        )
        self._last = ref(error)
        return error

    def lacked(self, method: str, promised: str, given: str = "") -> None:
        """Note on the plugin that a method lacked something that can be made up for."""
        what = f"{self.name}.{method} must {promised}"
        self._note("contract_broken", f"{what}, not {given}" if given else what)

    def late(self, method: str) -> str:
        """Note on the plugin that a request's time ran out in its method, and name that."""
        what = f"{self.name}.{method} was waited for when the time of a request was over"
        self._note("waited_in_vain", what, remedy=f"raise server.request_timeout, {self._remedy}")
        return f"{self.name}.{method} of the {self.role} '{self.kind}' ({self.where})"

    def raised(self, method: str, error: BaseException) -> None:
        """Note on the plugin what its method raised, where the answer goes on without it.

        That a model or a server behind it failed is not the plugin's fault.
        """
        if isinstance(error, PluginError):
            if error is not self._last():
                self._note("contract_broken", f"{self.name}.{method}: {error.message}")
        elif not isinstance(error, OpenKimiError):
            what = f"{self.name}.{method} raised {kind_of_error(error)} at a request"
            self._note("plugin_raised", what, at=place_of(error))

    def _note(self, event: str, what: str, *, at: str = "", remedy: str = "") -> None:
        """Note something on every list of plugins, and log it once, whatever numbers are in it."""
        remedy = remedy or self._remedy
        key, what, reports = _NUMBER.sub("", what), f"{self.where}: {what}", list(self._reports())
        for report in reports:
            report.note(f"{what}, at {at}" if at else what, remedy)
        if key not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(key)
            plugin, place = next((report.name for report in reports), None), {"at": at} if at else {}
            log.warning(event, plugin=plugin, what=what, remedy=remedy, **place)
