"""A pytest plugin that expects the failures listed in expected_failures.toml, and no others.

A listed test that passes fails the run, and so does one that is no longer there.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is expected to fail; a test is named with or without its parameters."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    expected = listed.get(os.environ["OPENKIMI_SUITE"], {})
    met = set()
    for item in items:
        for name in {item.nodeid, item.nodeid.partition("[")[0]} & set(expected):
            met.add(name)
            item.add_marker(pytest.mark.xfail(reason=expected[name], strict=True))
    if stale := sorted(set(expected) - met):
        raise pytest.UsageError(f"expected_failures.toml names tests that are not there: {', '.join(stale)}")
