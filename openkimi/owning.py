"""Tells whose code it is that runs, and notes on a plugin what it did wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import FrameType

import structlog

from openkimi.plugins import PluginReport

log = structlog.get_logger()

_CORE = "openkimi"
"""The package whose code is nobody's, whatever plugins for tests stand in it."""


class Owners:
    """The plugins by their packages; those that were handed over as objects have none."""

    def __init__(self, reports: Sequence[PluginReport]) -> None:
        self._reports = {_top(report.module.partition(":")[0]): report for report in reports}
        self._reports.pop(_CORE, None)

    def blame(self, frames: Iterable[tuple[FrameType, int]], event: str, what: str, *, remedy: str) -> bool:
        """Note ``what`` happened on the plugin of the first frame that is a plugin's, and log it.

        Frames come with the line that they are at. Returns whether there is such a plugin.
        """
        for frame, line in frames:
            report = self._reports.get(_top(str(frame.f_globals.get("__name__", ""))))
            if report is not None:
                at = f"{frame.f_code.co_filename}:{line}"
                report.note(f"{what}, at {at}", remedy)
                log.warning(event, plugin=report.name, what=what, at=at, remedy=remedy)
                return True
        return False


def _top(module: str) -> str:
    return module.partition(".")[0]
