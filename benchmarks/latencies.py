"""Shows how long answers took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def show(name: str, latencies: Sequence[float]) -> None:
    """Print median, 99th percentile and maximum of some milliseconds in a line."""
    ordered = sorted(latencies)
    p99 = ordered[int(len(ordered) * 0.99) - 1]
    print(
        f"{name:24} n={len(ordered):5}  median {statistics.median(ordered):7.1f} ms"
        f"  p99 {p99:7.1f} ms  max {ordered[-1]:7.1f} ms"
    )
