"""Where a component comes from, to name it and its plugin when it breaks its contract."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable

import structlog

from openkimi.errors import BackendError, OpenKimiError, PluginError
from openkimi.plugins import PluginReport
from openkimi.providers import Role

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
        self._where = where
        self._role: Role = role
        self._reports = reports
        self._remedy = f"tell the plugin's author, or {instead or f'choose another {where}'}"
        self._told = set[str]()
        self._last: OpenKimiError | None = None

    def broke(self, method: str, promised: str, given: str) -> OpenKimiError:
        """Note on the plugin that a method gave something else than promised, and return the error for that.

        It names types, shapes and numbers, and nothing of a text.
        """
        what = f"{self.name}.{method} must {promised}, not {given}"
        self._note("contract_broken", what)
        kind = BackendError if self._role in _OF_THE_MODEL else PluginError
        self._last = kind(
            f"{self._where}: the {self._role} '{self.kind}' breaks its contract: {what}; {self._remedy}"
        )
        return self._last

    def lacked(self, method: str, promised: str) -> None:
        """Note on the plugin that a method lacked something that can be made up for."""
        self._note("contract_broken", f"{self.name}.{method} must {promised}")

    def raised(self, method: str, error: BaseException) -> None:
        """Note on the plugin what its method raised, where the answer goes on without it.

        That a model or a server behind it failed is not the plugin's fault.
        """
        if isinstance(error, PluginError):
            if error is not self._last:
                self._note("contract_broken", f"{self.name}.{method}: {error.message}")
        elif not isinstance(error, OpenKimiError):
            frames = traceback.extract_tb(error.__traceback__)
            at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            what = f"{self.name}.{method} raised {type(error).__name__} at a request"
            self._note("plugin_raised", what, at=at)

    def _note(self, event: str, what: str, *, at: str = "") -> None:
        """Note something on every list of plugins, and log it once, whatever numbers are in it."""
        key, what, reports = _NUMBER.sub("", what), f"{self._where}: {what}", list(self._reports())
        for report in reports:
            report.reason, report.remedy = f"{what}, at {at}" if at else what, self._remedy
        if key not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(key)
            plugin, place = next((report.name for report in reports), None), {"at": at} if at else {}
            log.warning(event, plugin=plugin, what=what, remedy=self._remedy, **place)
