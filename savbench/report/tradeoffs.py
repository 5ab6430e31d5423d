"""Accuracy against cost: J&F over FPS and over energy, with the Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from savbench.report.charts import Axis, Figure, Missing, Point, Scatter, axis, notes_of, number, style_of
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.report.arms import Arm

FPS, ENERGY = "fps", "energy_j_per_frame"


@dataclass(frozen=True)
class Cost:
    """A cost set against accuracy: a column of `ArmSummary.figures`."""

    column: str
    title: str
    higher_is_better: bool


SPEED = Cost(FPS, "FPS, timed frames over timed seconds", True)
JOULES = Cost(ENERGY, "energy per frame beyond idling, J", False)


def contenders(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms worth choosing by score: trained models above their floor; baselines if nothing else was run."""
    learned = [arm for arm in arms if not arm.is_floor] or arms
    below = below_floor(arms)
    return [arm for arm in learned if arm.JandF is not None and not arm.is_random and arm not in below]


def floor_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """Return the baseline that a learned model must beat: the highest J&F with its prompt, else with any; None if none was run."""
    floors = [other for other in arms if other.is_floor and other.JandF is not None]
    alike = [other for other in floors if other.settings["prompt"] == arm.settings["prompt"]]
    return max(alike or floors, key=lambda other: other.JandF or 0.0, default=None)


def below_floor(arms: Sequence[Arm]) -> list[Arm]:
    """Return the trained models at or below their floor."""
    found = []
    for arm in arms:
        floor = floor_of(arm, arms)
        if floor is not None and not arm.is_floor and not arm.is_random and arm.JandF is not None and arm.JandF <= (floor.JandF or 0.0):
            found.append(arm)
    return found


def pareto_front(arms: Sequence[Arm], cost: Cost) -> list[Arm]:
    """Return the arms that no other dominates in J&F and cost, most accurate first. Leaves out arms that lack either."""
    sign = 1.0 if cost.higher_is_better else -1.0
    placed = [(arm, arm.JandF, sign * value) for arm in arms if arm.JandF is not None and (value := arm.figure(cost.column)) is not None]
    front = []
    for arm, score, gain in placed:
        beaten = any(
            other_score >= score and other_gain >= gain and (other_score, other_gain) != (score, gain)
            for other, other_score, other_gain in placed
            if other is not arm
        )
        if not beaten:
            front.append((arm, score))
    return [arm for arm, _ in sorted(front, key=lambda entry: -entry[1])]


def accuracy_against_speed(arms: Sequence[Arm]) -> Figure | Missing:
    """Plot J&F over FPS."""
    key, title = "accuracy-speed", "J&F against FPS"
    if not any(arm.JandF is not None for arm in arms):
        return Missing(
            key, title, "No row has J and F. They are scored wherever a split has annotations; rows of older tools may lack them."
        )
    return _figure(key, title, arms, SPEED) or Missing(key, title, "No row has both J&F and FPS.")


def accuracy_against_energy(arms: Sequence[Arm], why_not: str) -> Figure | Missing:
    """Plot J&F over energy.

    Args:
        why_not: why rows have no energy, if they say.
    """
    key, title = "accuracy-energy", "J&F against energy"
    return _figure(key, title, arms, JOULES) or Missing(key, title, f"No row has energy per frame. {why_not}")


def _figure(key: str, title: str, arms: Sequence[Arm], cost: Cost) -> Figure | None:
    placed = [arm for arm in arms if arm.JandF is not None and arm.figure(cost.column) is not None]
    if not placed:
        return None
    learned = [arm for arm in placed if not arm.is_floor]
    drawn = learned or placed
    front = pareto_front([arm for arm in contenders(placed) if not arm.is_doubtful], cost)
    points = tuple(_point(arm, cost, arm in front) for arm in drawn)
    floors = tuple((arm.label, arm.JandF) for arm in placed if arm.is_floor and arm.JandF is not None) if learned else ()
    levels = [level for point in points for level in (point.y_interval or (point.y,))] + [level for _, level in floors]
    scatter = Scatter(
        x=axis(cost.title, [point.x for point in points]),
        y=_scores_axis(levels),
        points=points,
        front=tuple((point.x, point.y) for arm in reversed(front) for point in points if point.label == arm.shown),
        floors=floors,
    )
    better = "Up and to the right is better" if cost.higher_is_better else "Up and to the left is better"
    says = [f"{better}; whiskers are 95% intervals of a bootstrap over videos, where there are videos enough."]
    if len(scatter.front) > 1:
        says.append("The stepped line is the Pareto front: no other arm is at least as good in both.")
    if floors:
        says.append("Broken lines are baselines without weights, the floor that a learned model has to beat.")
    if any(point.is_hollow for point in points):
        says.append("Hollow: untrained weights, their J&F is meaningless.")
    header = ["arm", "J&F", "95% interval", cost.title.split(",")[0], "on the front"]
    lines = []
    for arm in placed:
        interval = arm.intervals.get("JandF")
        said = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        lines.append([arm.shown, f"{arm.JandF:.4f}", said, number(arm.figure(cost.column)), "yes" if arm in front else ""])
    return Figure(key, title, " ".join(says), scatter, Grid(header, lines, left=1), notes_of(placed, of_scores=True))


def _scores_axis(levels: Sequence[float]) -> Axis:
    """Fit the axis of J&F: beyond 0 and 1 it has room for a marker, so that none is cut off, and none for a tick."""
    margin = 0.12 * (max(levels) - min(levels)) + 0.02
    low, high = min(levels) - margin, max(levels) + margin
    beyond = 0.06 * (min(1.0, high) - max(0.0, low))
    return Axis("J&F, mean over objects", low=max(low, -beyond), high=min(high, 1.0 + beyond))


def _point(arm: Arm, cost: Cost, on_front: bool) -> Point:
    score, value = arm.JandF or 0.0, arm.figure(cost.column) or 0.0
    return Point(
        label=arm.shown,
        style=style_of(arm.number),
        x=value,
        y=score,
        x_interval=arm.intervals.get("fps") if cost.column == FPS else None,
        y_interval=arm.intervals.get("JandF"),
        hover=(
            f"J&F {score:.4f}{' (untrained: meaningless)' if arm.is_random else ''}",
            f"{number(value)} {'FPS' if cost.column == FPS else 'J per frame'}",
            f"{arm.summary.scored} objects of {arm.summary.videos} videos",
            f"run {arm.run}",
        ),
        is_hollow=arm.is_random,
        on_front=on_front,
    )
