"""How many threads are chosen, on machines that are made up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from openkimi_gguf import threads
from openkimi_gguf.threads import (
    available_cores,
    count_distinct,
    defaults,
    fast_among,
    numbers_in,
    physical_cores,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("0-", set()), ("none", set())],
)
def test_lists_of_cores(text: str, numbers: set[int]) -> None:
    """Linux's lists of cores are read; what is none is empty."""
    assert numbers_in(text) == numbers


@pytest.mark.parametrize(
    ("usable", "marked", "frequencies", "fast"),
    [
        ({0, 1, 2}, {0, 1}, {}, {0, 1}),
        ({0, 1, 2}, {0, 1}, {0: 1, 1: 1, 2: 9}, {0, 1}),
        ({2, 3}, {0, 1}, {}, {2, 3}),
        ({0, 1, 2, 3}, set(), {0: 3000, 1: 2800, 2: 1800, 3: 1800}, {0, 1}),
        ({0, 1, 2, 3}, set(), {0: 5800, 1: 5700, 2: 5500, 3: 5400}, {0, 1, 2, 3}),
        ({0, 1}, set(), {}, {0, 1}),
        (set(), {0}, {}, set()),
    ],
)
def test_the_fast_ones_count(
    usable: set[int], marked: set[int], frequencies: dict[int, int], fast: set[int]
) -> None:
    """Of unlike cores the fast ones count; of equal ones with other boosts, and of slow ones alone, all."""
    assert fast_among(frozenset(usable), frozenset(marked), frequencies) == fast


def test_siblings_are_one_core() -> None:
    """Two threads of a core have the same list of siblings; an unknown list tells nothing."""
    assert count_distinct(["0,4", "1,5", "0,4", "1,5"]) == 2
    assert count_distinct(["0,4", ""]) == 0
    assert count_distinct([]) == 0


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, cores: int, *, quota: str = "max 100000") -> None:
    """Pretend to be a Linux machine whose ``/sys`` lies in the folder."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(threads, "_TOPOLOGY", folder)
    monkeypatch.setattr(threads, "_INTEL_FAST", folder / "cpu_core")
    (folder / "cpu.max").write_text(quota)
    monkeypatch.setattr(threads, "_QUOTA", folder / "cpu.max")


def core(folder: Path, number: int, siblings: str, frequency: int | None = None) -> None:
    for name, text in (
        ("topology/thread_siblings_list", siblings),
        ("cpufreq/cpuinfo_max_freq", None if frequency is None else str(frequency)),
    ):
        if text is not None:
            path = folder / f"cpu{number}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")


def test_a_hybrid_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of 6 performance cores with two threads each and 8 efficiency cores, the 6 count: 12 read, 3 write."""
    machine(monkeypatch, tmp_path, 20)
    (tmp_path / "cpu_core").write_text("0-11\n")
    for number in range(20):
        core(tmp_path, number, f"{number // 2 * 2}-{number // 2 * 2 + 1}" if number < 12 else str(number))

    assert (available_cores(), physical_cores(12)) == (12, 6)
    assert defaults() == (12, 3)


def test_a_processor_that_tells_by_frequency(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of 4 fast and 4 slow cores the fast ones count, and a container's quota still does."""
    machine(monkeypatch, tmp_path, 8)
    for number in range(8):
        core(tmp_path, number, str(number), 2_400_000 if number < 4 else 1_800_000)
    assert defaults() == (4, 2)

    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert defaults() == (2, 1)


def test_a_machine_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where ``/sys`` is empty every core that may be used counts."""
    machine(monkeypatch, tmp_path, 6)

    assert defaults() == (6, 3)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"hw.perflevel0.physicalcpu": 4, "hw.perflevel0.logicalcpu": 4}, (4, 2)),
        ({"hw.physicalcpu": 4}, (8, 2)),
        ({}, (8, 4)),
    ],
)
def test_macos(monkeypatch: pytest.MonkeyPatch, told: dict[str, int], expected: tuple[int, int]) -> None:
    """On Apple's processors the performance cores count, on Intel's the physical ones."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(threads, "_of_macos", told.get)
    monkeypatch.setattr(threads, "_quota", lambda: None)

    assert defaults() == expected
