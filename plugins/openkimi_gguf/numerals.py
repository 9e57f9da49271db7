"""Grammars of whole numbers between two bounds, digit by digit."""

from __future__ import annotations

_MOST_DIGITS = 15


def whole_numbers(low: int | None, high: int | None) -> str:
    """Write the grammar of the integers from ``low`` to ``high``; None is no bound."""
    return " | ".join((*_below_zero(low, high), *_from_zero(low, high)))


def decimals(low: int | None, high: int | None) -> str:
    """Write the grammar of the decimal numbers from ``low`` to ``high``, whole numbers; None is no bound."""
    parts = [f'"-" ({part})' for part in _fractions(*_mirrored(low, high))] if low is None or low < 0 else []
    if high is None or high >= 0:
        parts += _fractions(max(low or 0, 0), high)
    return " | ".join(parts)


def _below_zero(low: int | None, high: int | None) -> list[str]:
    if low is not None and low >= 0:
        return []
    smallest, largest = _mirrored(low, high)
    return [f'"-" ({_natural(max(smallest, 1), largest)})']


def _from_zero(low: int | None, high: int | None) -> list[str]:
    return [] if high is not None and high < 0 else [_natural(max(low or 0, 0), high)]


def _mirrored(low: int | None, high: int | None) -> tuple[int, int | None]:
    """Give the absolute values of what lies below zero."""
    return max(-(high if high is not None else 0), 0), None if low is None else -low


def _fractions(low: int, high: int | None) -> list[str]:
    fraction = '("." [0-9]{1,15})?'
    if high is None:
        return [f"({_natural(low, None)}) {fraction}"]
    inside = [f"({_natural(low, high - 1)}) {fraction}"] if low < high else []
    return [*inside, f'"{high}" ("." "0")?']


def _natural(low: int, high: int | None) -> str:
    """Write the integers from ``low`` to ``high``, neither below zero."""
    if high is None:
        size = len(str(low))
        longer = [f"[1-9] [0-9]{{{size},{max(size, _MOST_DIGITS - 1)}}}"]
        return " | ".join([_alike(str(low), "9" * size), *longer])
    parts, size = [], len(str(low))
    for digits in range(size, len(str(high)) + 1):
        smallest = low if digits == size else 10 ** (digits - 1)
        largest = high if digits == len(str(high)) else 10**digits - 1
        parts.append(_alike(str(smallest), str(largest)))
    return " | ".join(parts)


def _alike(low: str, high: str) -> str:
    """Write the numbers between two of the same length; leading zeros count as digits."""
    if low == high:
        return f'"{low}"'
    if set(low) == {"0"} and set(high) == {"9"}:
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return f'"{low[0]}" ({_alike(low[1:], high[1:])})'
    if len(low) == 1:
        return f"[{low}-{high}]"
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    parts = []
    if set(low[1:]) != {"0"}:
        parts.append(f'"{first}" ({_alike(low[1:], "9" * rest)})')
        first += 1
    end = f'"{last}" ({_alike("0" * rest, high[1:])})' if set(high[1:]) != {"9"} else ""
    last -= bool(end)
    if first <= last:
        parts.append(f"[{first}-{last}] [0-9]{{{rest}}}")
    return " | ".join([*parts, end] if end else parts)
