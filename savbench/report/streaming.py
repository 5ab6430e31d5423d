"""Accuracy at a camera's rate: streaming J&F beside offline J&F, and the best arm at each rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from savbench.report.arms import numbers
from savbench.report.charts import Axis, Bars, Figure, Line, Lines, Missing, Part, notes_of, number, style_of
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from savbench.report.arms import Arm

STREAMING, RATE = "streaming_JandF", "camera_fps"
DETAILS = {
    "streaming_fps": "streaming FPS",
    "frames_processed": "frames processed",
    "frames_dropped": "frames dropped",
    "mask_age_p50_ms": "mask age p50, ms",
    "mask_age_p90_ms": "mask age p90, ms",
    "deadline_met": "deadline met",
}
"""Columns of --realtime shown as means over objects."""


def streaming(arms: Sequence[Arm], rows: pd.DataFrame) -> list[Figure | Missing]:
    """Show offline and streaming J&F per arm, and streaming J&F over the camera's rate if there are several rates."""
    key, title = "streaming", "J&F offline and at the camera's pace"
    means = {arm.number: _streaming(arm) for arm in arms}
    drawn = [arm for arm in arms if not math.isnan(means[arm.number])]
    if not drawn:
        remedy = "--realtime FPS records what the tracker knows in time at that rate of the camera."
        return [Missing(key, title, f"No row has a streaming J&F. {remedy}")]
    offline = tuple(arm.JandF if arm.JandF is not None else math.nan for arm in drawn)
    streamed = tuple(means[arm.number] for arm in drawn)
    parts = (
        Part("offline", offline, tuple(number(value) for value in offline)),
        Part("streaming", streamed, tuple(number(value) for value in streamed)),
    )
    bars = Bars(Axis("J&F, mean over objects", low=0, high=1), tuple(arm.shown for arm in drawn), parts)
    details = {name: label for name, label in DETAILS.items() if not all(math.isnan(_mean(rows.iloc[arm.timed], name)) for arm in drawn)}
    header = ["arm", "camera FPS", "J&F", "streaming J&F", *details.values()]
    lines = [
        [arm.shown, _rate_text(arm, rows), *(number(value) for value in (arm.JandF, means[arm.number])),
         *(number(_mean(rows.iloc[arm.timed], name)) for name in details)]
        for arm in drawn
    ]  # fmt: skip
    says = "Offline a tracker has all the time it wants; streaming, the mask that is finished when a frame arrives is what counts."
    notes = notes_of(drawn, of_scores=True)
    simulated = sorted({clock for arm in drawn if (clock := arm.settings["streaming_clock"]).startswith("simulated")})
    if simulated:
        notes = (*notes, f"Not in real time but with recorded latencies ({'; '.join(simulated)}).")
    found: list[Figure | Missing] = [Figure(key, title, says, bars, Grid(header, lines), notes)]
    by_rate = _over_rates(drawn, rows, means)
    return [*found, by_rate] if by_rate else found


def winners(arms: Sequence[Arm], rows: pd.DataFrame) -> list[tuple[float, Arm, float]]:
    """Return the trained arm with the highest streaming J&F at each camera rate as (rate, arm, mean), by ascending rate."""
    best: dict[float, tuple[Arm, float]] = {}
    for arm in arms:
        rate, score = _rate(arm, rows), _streaming(arm)
        if arm.is_random or math.isnan(score) or rate is None:
            continue
        if rate not in best or score > best[rate][1]:
            best[rate] = (arm, score)
    return [(rate, *best[rate]) for rate in sorted(best)]


def _over_rates(drawn: Sequence[Arm], rows: pd.DataFrame, means: dict[int, float]) -> Figure | None:
    """Draw one line per group of arms that differ only in the rate."""
    rates = {arm.number: _rate(arm, rows) for arm in drawn}
    if len({rate for rate in rates.values() if rate is not None}) < 2:
        return None
    series: dict[tuple[str, ...], list[Arm]] = {}
    for arm in drawn:
        if rates[arm.number] is not None:
            series.setdefault(tuple(value for name, value in arm.settings.items() if name != RATE), []).append(arm)
    # a sweep of the rate may span several runs; if a rate occurs twice, draw each run separately
    for alike, members in list(series.items()):
        if len({rates[arm.number] for arm in members}) < len(members):
            del series[alike]
            for arm in members:
                series.setdefault((arm.run, *alike), []).append(arm)
    lines = []
    for members in series.values():
        ordered = sorted(members, key=lambda arm: rates[arm.number] or 0.0)
        first = ordered[0]
        label = first.shown.replace(f" camera {first.settings.get(RATE)}", "")
        x = tuple(rates[arm.number] or 0.0 for arm in ordered)
        lines.append(Line(label, style_of(first.number), x, tuple(means[arm.number] for arm in ordered)))
    best = winners(drawn, rows)
    grid = Grid(
        ["camera FPS", "best streaming J&F", "arm"], [[number(rate), number(score), arm.label] for rate, arm, score in best], left=1
    )
    drawing = Lines(
        Axis("frames per second of the camera", low=0), Axis("streaming J&F, mean over objects", low=0), tuple(lines), has_symbols=True
    )
    says = "Streaming J&F over the camera's rate. Lines that cross are models that change places."
    return Figure("streaming-rates", "Which model at which camera rate", says, drawing, grid, notes_of(drawn, of_scores=True))


def _rate(arm: Arm, rows: pd.DataFrame) -> float | None:
    values = numbers(rows.iloc[arm.valid], RATE)
    values = values[~np.isnan(values)]
    return float(values[0]) if values.size else None


def _rate_text(arm: Arm, rows: pd.DataFrame) -> str:
    rate = _rate(arm, rows)
    return "" if rate is None else f"{rate:g}"


def _streaming(arm: Arm) -> float:
    score = arm.figure(STREAMING)
    return math.nan if score is None else score


def _mean(rows: pd.DataFrame, name: str) -> float:
    values = numbers(rows, name)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan
