"""Waiting for a board to cool down."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 30 * 60.0
"""Maximum wait in seconds. A board with a heat sink returns to its idle temperature well before that."""
STILL_S = 180.0
STILL_C = 0.5
"""If the board has not cooled by this much within `STILL_S` seconds, it will not cool further."""
STEP_S = 1.0


def cool_down(
    read_c: Callable[[], float | None],
    target_c: float,
    tell: Callable[[str], None],
    stop_requested: Callable[[], bool],
    *,
    at_least_s: float = 0.0,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Wait until the temperature is at or below the target, while it keeps falling.

    Args:
        read_c: returns the temperature in C; None, if it cannot be read, ends the wait.
        tell: called about every second with a line to show: temperature and time waited.
        stop_requested: true ends the wait.
        at_least_s: minimum wait in seconds, for causes other than heat.

    Returns:
        Empty if the target was reached or a stop was requested; else the temperature reached and why the wait ended.
    """
    begun_s = now_s()
    seen: deque[tuple[float, float]] = deque()
    while not stop_requested():
        waited_s, celsius = now_s() - begun_s, read_c()
        if celsius is None:
            return "the temperature cannot be read, continuing"
        if celsius <= target_c and waited_s >= at_least_s:
            return ""
        seen.append((waited_s, celsius))
        while seen[0][0] < waited_s - STILL_S:
            seen.popleft()
        if celsius > target_c:
            if waited_s >= LIMIT_S:
                return f"still {celsius:.1f} C after {_in_words(waited_s)}, continuing"
            if waited_s >= STILL_S and seen[0][1] - celsius < STILL_C:
                return f"{celsius:.1f} C after {_in_words(waited_s)} and not cooling further, continuing"
        tell(f"cooling: {celsius:.1f} C, waiting for {target_c:g} C, {_in_words(waited_s)} so far")
        sleep(STEP_S)
    return ""


def _in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
