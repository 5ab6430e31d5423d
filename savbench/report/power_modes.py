"""Power modes of a board: speed against joules, and which modes are worth choosing for speed or for accuracy.

Joules per frame here include idle power, since a battery pays for it: power over the timed frames divided by frames per second. A mode that
finishes a frame sooner may so take less than a slower one that draws fewer watts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.report.charts import Axis, Figure, Point, Scatter, axis, notes_of, number, style_of
from savbench.report.tradeoffs import contenders
from savbench.results.foreign import NOT_APPLICABLE, UNKNOWN
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from savbench.report.arms import Arm

_JOULES = "energy per frame with idling, J"


def power_modes(arms: Sequence[Arm]) -> tuple[Figure, ...]:
    """Plot FPS over joules per frame of models that were measured in several power modes; nothing if there are none."""
    placed = [arm for arm in arms if _joules(arm) is not None and arm.figure("fps") is not None and _mode(arm)]
    modes: dict[tuple[str, str], set[str]] = {}
    for arm in placed:
        modes.setdefault(_model(arm), set()).add(_mode(arm))
    placed = [arm for arm in placed if len(modes[_model(arm)]) > 1]
    if not placed:
        return ()
    sure = [arm for arm in placed if not arm.is_doubtful]
    fast = _front(sure, lambda arm: arm.figure("fps"))
    accurate = _front([arm for arm in contenders(sure) if not arm.is_floor], lambda arm: arm.JandF)
    points = tuple(
        Point(
            label=arm.shown,
            style=style_of(arm.number),
            x=_joules(arm) or 0.0,
            y=arm.figure("fps") or 0.0,
            hover=(f"{number(arm.figure('fps'))} FPS at {number(_watts(arm))} W", f"power mode {_mode(arm)}", f"run {arm.run}"),
            on_front=arm in fast,
        )
        for arm in placed
    )
    scatter = Scatter(
        x=axis(_JOULES, [point.x for point in points]),
        y=Axis("FPS, timed frames over timed seconds", low=0.0),
        points=points,
        front=tuple(sorted((point.x, point.y) for point in points if point.on_front)),
    )
    header = ["arm", "power mode", "FPS", "W", "J per frame", "above idling", "J&F", "worth choosing"]
    lines = [
        [
            arm.shown, _mode(arm), number(arm.figure("fps")), number(_watts(arm)), number(_joules(arm)),
            number(arm.figure("energy_j_per_frame")), "" if arm.JandF is None else f"{arm.JandF:.4f}",
            " and ".join(what for what, front in (("for speed", fast), ("for J&F", accurate)) if arm in front),
        ]
        for arm in placed
    ]  # fmt: skip
    says = (
        "Up and to the left is better. The stepped line is the Pareto front: no other arm is at least as fast for as few joules. The table "
        "also marks the front of J&F against joules, which a power mode changes only by its joules: masks are the same in every mode."
    )
    return (Figure("power-modes", "Power modes", says, scatter, Grid(header, lines, left=1), notes_of(placed)),)


def _joules(arm: Arm) -> float | None:
    """Joules per frame, idle power included."""
    per_joule = arm.figure("fps_per_w")
    return None if not per_joule else 1 / per_joule


def _watts(arm: Arm) -> float | None:
    fps, joules = arm.figure("fps"), _joules(arm)
    return None if fps is None or joules is None else fps * joules


def _mode(arm: Arm) -> str:
    mode = arm.settings["nvpmodel"]
    return "" if mode in (UNKNOWN, NOT_APPLICABLE) else mode


def _model(arm: Arm) -> tuple[str, str]:
    return arm.settings["model"], arm.settings["prompt"]


def _front(arms: Sequence[Arm], gain: Callable[[Arm], float | None]) -> list[Arm]:
    """The arms that no other dominates in a gain and in joules."""
    placed = [(arm, value, joules) for arm in arms if (value := gain(arm)) is not None and (joules := _joules(arm)) is not None]
    return [
        arm
        for arm, value, joules in placed
        if not any(v >= value and j <= joules and (v, j) != (value, joules) for other, v, j in placed if other is not arm)
    ]
