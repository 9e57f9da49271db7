"""The lengths, counts and bounds that a JSON Schema sets, as whole numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from openkimi_gguf.gbnf import GrammarError


def counts(schema: Mapping[str, Any], least: str, most: str) -> tuple[int, int | None]:
    """Read a least and a largest count.

    Raises:
        GrammarError: one of them is no count.
    """
    low, high = schema.get(least), schema.get(most)
    for name, value in ((least, low), (most, high)):
        if value is not None and (not isinstance(value, int | float) or value < 0 or value != int(value)):
            raise GrammarError(f"'{name}' is a whole number, 0 or more")
    return int(low or 0), None if high is None else int(high)


def bounds(schema: Mapping[str, Any], *, whole: bool) -> tuple[int | None, int | None]:
    """Read the bounds of a number: the next whole numbers outside, or inside where it is ``whole`` itself.

    Raises:
        GrammarError: a bound is no number, or too large.
    """
    lows = [_bound(schema, "minimum")]
    highs = [_bound(schema, "maximum")]
    low_edge, high_edge = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")
    if whole:
        lows = [None if low is None else math.ceil(low) for low in lows]
        highs = [None if high is None else math.floor(high) for high in highs]
        lows.append(None if low_edge is None else math.floor(low_edge) + 1)
        highs.append(None if high_edge is None else math.ceil(high_edge) - 1)
    else:
        lows = [None if low is None else math.floor(low) for low in (*lows, low_edge)]
        highs = [None if high is None else math.ceil(high) for high in (*highs, high_edge)]
    low = max((int(low) for low in lows if low is not None), default=None)
    return low, min((int(high) for high in highs if high is not None), default=None)


def _bound(schema: Mapping[str, Any], name: str) -> float | None:
    value = schema.get(name)
    if value is None or isinstance(value, bool):  # booleans: draft 4, beside minimum and maximum
        return None
    if not isinstance(value, int | float) or abs(value) > 10**15:
        raise GrammarError(f"'{name}' is a number between -1e15 and 1e15")
    return value
