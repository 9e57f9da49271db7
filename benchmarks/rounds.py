"""Figures of interleaved rounds: medians, their intervals, and ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from math import comb
from pathlib import Path
from typing import NamedTuple

import msgspec

Figures = dict[str, float]


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What one contender gave in one round, under settings that are written out."""

    settings: str
    round: int
    contender: str
    figures: Figures


class Middle(NamedTuple):
    """A median with an interval that holds the true one in 95 of 100 cases, or the range of a few values."""

    median: float
    low: float
    high: float
    count: int


def middle(values: Sequence[float]) -> Middle:
    """Take the median and its interval by order statistics: of nine values the second and the eighth."""
    ordered, count = sorted(values), len(values)
    outside, left_out = 0.0, 0
    for at in range(count // 2):
        outside += 2 * comb(count, at) / 2**count
        if outside > 0.05:
            break
        left_out = at
    return Middle(statistics.median(ordered), ordered[left_out], ordered[-1 - left_out], count)


def read(path: Path | None) -> list[Visit]:
    """Read what an earlier run has found; nothing, where there is no file."""
    if path is None or not path.exists():
        return []
    return [msgspec.json.decode(line, type=Visit) for line in path.read_bytes().splitlines() if line]


def write(path: Path | None, visit: Visit) -> None:
    if path is not None:
        with path.open("ab") as lines:
            lines.write(msgspec.json.encode(visit) + b"\n")


class Found:
    """All visits of a run, by contender and round."""

    def __init__(self, visits: Iterable[Visit]) -> None:
        self._visits = {(visit.contender, visit.round): visit.figures for visit in visits}
        self.contenders = list(dict.fromkeys(name for name, _ in self._visits))

    def values(self, contender: str, figure: str) -> list[float]:
        return [
            figures[figure]
            for (name, _), figures in sorted(self._visits.items(), key=lambda item: item[0][1])
            if name == contender and figure in figures
        ]

    def ratios(self, contender: str, base: str, figure: str) -> list[float]:
        """Divide by another contender's figure of the same round, so that what disturbs both cancels."""
        pairs = [
            (figures[figure], self._visits[base, at][figure])
            for (name, at), figures in self._visits.items()
            if name == contender and figure in figures and figure in self._visits.get((base, at), {})
        ]
        return [ours / theirs for ours, theirs in pairs if theirs]


def table(head: str, columns: Sequence[str], rows: Iterable[tuple[str, Callable[[str], str]]]) -> str:
    """Write a table in Markdown; rows without a value are left out."""
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, cell in rows:
        cells = [cell(column) for column in columns]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(text or '–' for text in cells)} |")
    return "\n".join(lines)


def shown(values: Sequence[float], digits: int) -> str:
    """Show a median and its interval; nothing, where there are no values."""
    if not values:
        return ""
    found = middle(values)
    if found.low == found.high:
        return f"{found.median:,.{digits}f}"
    return f"{found.median:,.{digits}f} ({found.low:,.{digits}f}–{found.high:,.{digits}f})"
