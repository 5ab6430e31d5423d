"""Figures as text, so that a figure that is not zero never reads as zero."""

from __future__ import annotations

import math

_MOST_PLACES = 6


def number(value: float | None, digits: int = 4) -> str:
    """At least `digits` significant digits, with an exponent only for values that would need many zeros; empty for None."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".removeprefix("-") if value == 0 else str(value)
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}" if places <= _MOST_PLACES else f"{value:.{digits - 1}e}"


def counted(count: int, noun: str) -> str:
    """As `1 object` or `2 objects`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def difference(value: float) -> str:
    """A signed difference of scores: four decimals, one digit and an exponent if these would be zeros, and no sign at zero."""
    text = f"{value:+.4f}"
    return text if float(text) else f"{value:+.0e}" if value else "0.0000"


def ratio(value: float) -> str:
    """A ratio, `x1.250`; small and large ones with as many digits."""
    return f"x{value:.3f}" if 0.1 <= value < 10 else f"x{number(value, 3 if value < 10 else 4)}"
